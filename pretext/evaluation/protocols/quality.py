"""Label-free scores: do features collapse, spread, keep views together?"""

from __future__ import annotations

from torch import Generator

from pretext.evaluation.augmented import views_of
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.quality import quality, quality_of_views
from pretext.evaluation.results import Score


class Quality(Protocol):
    """Label-free scores of a stage's average on train, and of its augmented views where there are two or more."""

    description = Description(
        name="quality",
        title="Label-free, on the average of each stage",
        short="Label-free",
        about="label-free scores of each stage's average on train",
        metrics=(
            Metric("rankme", "RankMe", "rankme"),
            Metric("alpha_req", "alpha-ReQ", "alpha_req", better="neither"),
            Metric("uniformity", "uniformity", "uniformity", better="smaller"),
            Metric("zipf_kl", "KL from Zipf's law", "zipf_kl", better="smaller"),
            Metric("lidar", "LiDAR", "lidar"),
            Metric("alignment", "alignment", "alignment", better="smaller"),
        ),
        apart=True,
    )

    def suits(self, sets: Sets) -> bool:
        return True

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        of_items = quality(sets.mean(stage)[0])
        several = len(sets.views) > 1
        of_views = quality_of_views(views_of(sets.views, stage).to(sets.device)) if several else {}
        return Score(of_items | of_views)
