"""`pretext probe`: what does every stage know about classes that it was never shown?

Each stage of the trained backbone is compared with the same backbone at random initialisation and with the raw input.
Whatever is chosen (k, L2 strength, C, stage) is chosen on a share of the training items; the test items are looked at
once. An item may be an image, a sound or a video, of which several clips are looked at and their features averaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from rich.console import Console
from torch import Generator, Tensor

from pretext.core.files import write_json
from pretext.core.types import Backbone
from pretext.evaluation.augmented import Augmented, Batches
from pretext.evaluation.embed import DIMS, Batch, Cache, Embedded, View, embed
from pretext.evaluation.measure import PROTOCOLS, Measured, measure
from pretext.evaluation.measure import Protocol as Kind
from pretext.evaluation.solvers import logistic_regression as linear
from pretext.evaluation.solvers import nearest_neighbours as knn

Result = dict[str, Any]
"""What goes to probe.json: {"data", "protocol", "rows", "low_label", "seconds", "command"}."""
Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
WORDS = {
    "linear": "multinomial logistic regression on standardised features, refitted on all of train; l2 one of "
    + ", ".join(f"{strength:g}" for strength in linear.STRENGTHS),
    "knn": f"cosine, votes exp(cosine / {knn.TEMPERATURE:g}), on each stage's average (raw input: as it is); k one of "
    + ", ".join(map(str, knn.KS)),
    "low_label": "linear probe on few labels, several draws of them, Student's t over draws; of the stage that all "
    "labels chose",
    "svm": "linear SVM per class on features of unit length, C by 3-fold cross-validation on train; of items with one "
    "label, one C for all classes; with several, what is not to be judged is left out",
    "quality": "label-free scores of each stage's average on train",
}


class Labelled(Protocol):
    """What of a data module is needed here."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty where unlabelled."""

    def ordered(self, split: Split) -> Batches:
        """Go through a split in order, each item once."""

    def fingerprint(self, split: Split) -> str:
        """Hash what `ordered` yields."""


class Sight(NamedTuple):
    """What evaluation looks at, and how."""

    data: Labelled
    view: View
    """Turns a loaded batch into what the backbone is shown."""
    view_key: str
    """Says in words what `view` does; part of a cached feature's name."""
    modality: str | None = None
    """Which network of several it is."""
    augmented: Callable[[Any, Generator], Any] | None = None
    """Turns a loaded batch into crops by chance."""
    arranged: View = Tensor.float
    """Turns such crops into what the backbone is shown."""
    augment: str = ""
    """Says how `augmented` makes crops; part of a cached feature's name."""


class Plan(NamedTuple):
    """What is measured, and at which cost."""

    protocols: Sequence[Kind] = PROTOCOLS
    views: int = 0
    """Augmented views of each training item, beside the plain one."""
    dims: int = DIMS
    """Values that each stage is pooled to, at most."""
    device: torch.device | str | None = None
    """By default the accelerator if there is one."""
    dtype: torch.dtype = torch.float32
    """bfloat16: embed under autocast."""


def probe_run(
    networks: Mapping[str, Backbone], sight: Sight, folder: Path, command: str, plan: Plan | None = None
) -> Result:
    """Probe every stage, write probe.json into `folder`, keep the features there, and return what was found.

    `networks`: "trained", "random" (the same backbone at random initialisation) and "raw" (`embed.raw_input`).

    Raises:
        ValueError: the data has no labels, or as in `embed` and `measure`.

    """
    begin, plan = time.perf_counter(), plan or Plan()
    rows: list[Result] = []
    points: list[Result] = []
    for features, backbone in networks.items():
        measured = probe_network(backbone, sight, plan, folder / "features", features)
        rows += [{"features": features, **row} for row in measured.rows]
        points += [{"features": features, **point} for point in measured.low_label]
    result = {
        **facts(sight, plan, measured),
        "rows": rows,
        "low_label": points,
        "seconds": round(time.perf_counter() - begin, 2),
        "command": command,
    }
    write_json(folder / "probe.json", result)
    return result


def probe_network(backbone: Backbone, sight: Sight, plan: Plan, cache: Path | None, title: str) -> Measured:
    """Embed both splits, from the `cache` where they are there already, and measure every stage.

    Raises:
        ValueError: the data has no labels, or as in `embed` and `measure`.

    """
    _check(backbone, sight, plan)
    device = torch.device(plan.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    backbone = backbone.to(device)

    def look(split: Split, batches: Iterable[Batch], view: View, key: str) -> Embedded:
        place = None if cache is None else Cache(cache, sight.data.fingerprint(split), key)
        name = f"embedding {split}, {title}"
        return embed(backbone, batches, view, cache=place, dims=plan.dims, dtype=plan.dtype, title=name)

    train, test = (look(split, sight.data.ordered(split), sight.view, sight.view_key) for split in SPLITS)
    views = []
    for k in range(plan.views):
        assert sight.augmented is not None
        batches = Augmented(sight.data.ordered("train"), sight.augmented, k=k)
        # How many batches: chance goes by the first item of each.
        key = f"{sight.view_key}; augmented view {k} of {len(batches)} batches, {sight.augment}"
        views.append(look("train", batches, sight.arranged, key))
    with Console(stderr=True).status(f"probing {title}"):
        return measure(train, test, plan.protocols, views, device)


def _check(backbone: Backbone, sight: Sight, plan: Plan) -> None:
    if not sight.data.classes:
        kind = {"hw": "ImageFolder", "thw": "Clips", "t": "Sounds"}.get(backbone.axes, "ImageFolder")
        raise ValueError(
            f"probe needs labels, but {type(sight.data).__name__} has none; "
            f"pass a labelled set: --data datamodules.{kind} --data.root DIR"
        )
    if plan.views and sight.augmented is None:
        raise ValueError(
            f"probe got views={plan.views}, but there is no augmentation to make them with; for a "
            "run name one (--model.augment pretext.Augment --model.augment.crop 32), for --backbone give --crop"
        )


def facts(sight: Sight, plan: Plan, measured: Measured) -> Result:
    """Say what was looked at and by which protocol: {"data", "protocol"}."""
    named = {"modality": sight.modality} if sight.modality else {}
    more = f"; {plan.views} augmented views of each training item added" if plan.views else ""
    return {
        "data": {
            "class": type(sight.data).__name__,
            **named,
            **dict(zip(SPLITS, measured.items, strict=True)),
            "classes": list(sight.data.classes),
        },
        "protocol": {
            **{name: WORDS[name] for name in plan.protocols if name in measured.rows[0] or measured.low_label},
            "features": f"each stage pooled to the finest grid of at most {plan.dims} values{more}",
            "chosen on": f"a stratified {100 * linear.VALIDATION_SHARE:g} % of train: l2, k and the best stage",
            "interval": "95 %, Wilson (mean average precision: bootstrap)",
            "view": sight.view_key,
            "chance": measured.chance,
        },
    }
