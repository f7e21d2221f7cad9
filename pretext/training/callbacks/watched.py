"""What `Online` measures: on which items, at which stages, with which scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from pretext.evaluation.embed import Batch
from pretext.training.callbacks.scored import SCORES, Score
from pretext.training.host import Host

LOOK = 8  # items, to see what labels there are; a file may be unreadable


class Ordered(Protocol):
    """What of a data module is needed here."""

    def ordered(self, split: Literal["train", "test"], items: int | None = None) -> Iterable[Batch]:
        """Go through a fixed choice of items in order, each once."""


class Wanted(NamedTuple):
    """What is measured, and on what."""

    data: Ordered
    scores: Sequence[Score]
    stages: Sequence[str]


def stages_of(host: Host, modality: str | None, stage: str) -> list[str]:
    """List the stages that are measured.

    Raises:
        ValueError: the backbone has no such modality or stage.

    """
    network, _ = host.inputs.network(modality)
    stages = list(network.stages)
    if stage not in ("last", "all", *stages):
        raise ValueError(
            f"Online got stage={stage!r}, but {type(network).__name__} has {', '.join(stages)}; choose one of them, "
            '"last" or "all"'
        )
    return {"last": stages[-1:], "all": stages}.get(stage, [stage])


def data_of(own: pl.LightningDataModule | None, trainer: pl.Trainer) -> Ordered:
    """Return the data that is measured on: one of its own, or what is trained on.

    Raises:
        ValueError: it cannot go through its items in order.

    """
    data = own or trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it outside the class
    if not hasattr(data, "ordered"):
        raise ValueError(
            f"Online got {'no data module' if data is None else type(data).__name__}, but wants one with "
            "`ordered(split, items)` such as datamodules.ImageFolder; give one as `data`"
        )
    if own is not None:
        own.prepare_data()
        own.setup("fit")
    return cast(Ordered, data)


def possible(scores: Sequence[Score] | None, data: Ordered) -> Sequence[Score]:
    """Say what can be measured on data: what needs labels wants one class an item."""
    first = next(iter(data.ordered("train", LOOK)), None)
    if first is None:
        raise ValueError(f"Online: of {LOOK} items of {type(data).__name__} none can be read; look at its files")
    if "y" in first and first["y"].ndim == 1:
        return scores or SCORES
    what = f"{type(data).__name__} has {'several labels an item' if 'y' in first else 'no labels'}"
    if scores is not None and set(scores) != {"quality"}:
        raise ValueError(f"Online got scores={scores}, but {what}; ask for quality alone, or give labelled `data`")
    if scores is None:
        rank_zero_warn(f"Online: {what}, so only quality is measured; say `scores: [quality]`, or give labelled `data`")
    return ("quality",)
