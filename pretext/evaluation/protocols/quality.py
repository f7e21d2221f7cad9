"""Label-free scores: do features collapse, spread, keep views together?"""

from __future__ import annotations

from torch import Generator

from pretext.evaluation.augmented import views_of
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.quality import quality, quality_of_views
from pretext.evaluation.results import Score

RANKME = "How many directions the features use, from 1 (collapse) up. A random network can use many."
ALPHA_REQ = "How fast the spectrum of the features decays; its paper found values near 1 best."
UNIFORMITY = "How evenly the features are spread on a sphere: 0 where all are equal, lower the more even."
ZIPF_KL = "How far the sizes of the features' clusters are from Zipf's law: 0 where they follow it."
LIDAR = "As RankMe, but of differences between items, beside those between augmented views of one item."
ALIGNMENT = "Mean distance of two augmented views of one item: 0 where they look the same to the network."


class Quality(Protocol):
    """Label-free scores of a stage's average on train, and of its augmented views where there are two or more."""

    description = Description(
        name="quality",
        title="Label-free, on the average of each stage",
        short="Label-free",
        about="label-free scores of each stage's average on train",
        metrics=(
            Metric("rankme", "RankMe", "rankme", about=RANKME),
            Metric("alpha_req", "alpha-ReQ", "alpha_req", better="neither", about=ALPHA_REQ),
            Metric("uniformity", "uniformity", "uniformity", better="smaller", about=UNIFORMITY),
            Metric("zipf_kl", "KL from Zipf's law", "zipf_kl", better="smaller", about=ZIPF_KL),
            Metric("lidar", "LiDAR", "lidar", about=LIDAR),
            Metric("alignment", "alignment", "alignment", better="smaller", about=ALIGNMENT),
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
