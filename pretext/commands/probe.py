"""`pretext probe`: what does every stage know about classes that it was never shown?

Each stage of the trained backbone is compared with the same backbone at random initialisation and with the raw input,
by nearest neighbours and by a linear classifier. Whatever is chosen (k, L2 strength, stage) is chosen on a share of the
training items; the test items are looked at once. An item may be an image, a sound or a video, of which several clips
are looked at and their features averaged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

import torch
from rich.console import Console
from torch import Tensor

from pretext.commands.probe_view import Result, plot, table
from pretext.evaluation import knn, linear
from pretext.evaluation.embed import DIMS, Batch, Cache, Embedded, View, embed, raw_input
from pretext.evaluation.interval import wilson
from pretext.types import Backbone

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
PROTOCOL = {
    "linear": "multinomial logistic regression on standardised features, refitted on all of train",
    "linear features": f"each stage pooled to the finest grid of at most {DIMS} values",
    "l2": f"one of {', '.join(f'{strength:g}' for strength in linear.STRENGTHS)}",
    "knn": f"cosine, votes exp(cosine / {knn.TEMPERATURE:g}), on each stage's average (raw input: as it is)",
    "k": f"one of {', '.join(map(str, knn.KS))}",
    "chosen on": f"a stratified {100 * linear.VALIDATION_SHARE:g} % of train: l2, k and the best stage",
    "interval": "95 %, Wilson",
}


class Labelled(Protocol):
    """What of a data module is needed here."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty where unlabelled."""

    def ordered(self, split: Split) -> Iterable[Batch]:
        """Go through a split in order, each item once."""

    def fingerprint(self, split: Split) -> str:
        """Hash what `ordered` yields."""


def probe_run(
    trained: Backbone,
    fresh: Backbone,
    data: Labelled,
    view: View,
    folder: Path,
    command: str,
    view_key: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    modality: str | None = None,
) -> Result:
    """Probe every stage, print a table, write probe.json and probe.png into `folder`, and keep the features there.

    `fresh` is the same backbone at random initialisation. `view_key` names `view` in the cache of features. Both
    backbones go to `device`, by default the accelerator if there is one. `modality`: which network of several it is.

    Raises:
        ValueError: the data has no labels, or as in `embed`, `knn` and `linear.probe`.

    """
    begin = time.perf_counter()
    if not data.classes:
        kind = {"hw": "ImageFolder", "thw": "Clips", "t": "Sounds"}.get(trained.axes, "ImageFolder")
        raise ValueError(
            f"probe needs labels, but {type(data).__name__} has none; "
            f"pass a labelled set: --data datamodules.{kind} --data.root DIR"
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows: list[Result] = []
    for features, backbone in (("trained", trained), ("random", fresh), ("raw", raw_input(trained))):
        train, test = (
            embed(
                backbone.to(device),
                data.ordered(split),
                view,
                cache=Cache(folder / "features", data.fingerprint(split), view_key),
                dtype=dtype,
                title=f"embedding {split}, {features}",
            )
            for split in SPLITS
        )
        with Console(stderr=True).status(f"probing {features}"):
            rows += score_stages(features, train, test, device)
    sizes = {"train": len(train.labels), "test": len(test.labels)}
    named = {"modality": modality} if modality else {}
    result = {
        "data": {"class": type(data).__name__, **named, **sizes, "classes": list(data.classes)},
        "protocol": PROTOCOL | {"view": view_key, "chance": _chance(train.labels, test.labels)},
        "rows": rows,
        "seconds": round(time.perf_counter() - begin, 2),
        "command": command,
    }
    _save(result, folder)
    Console().print(table(result))
    return result


def _save(result: Result, folder: Path) -> None:
    draft = folder / "probe.json.draft"
    draft.write_text(json.dumps(result, indent=1), encoding="utf-8")
    draft.replace(folder / "probe.json")
    plot(result).savefig(folder / "probe.png", dpi=150)


def score_stages(features: str, train: Embedded, test: Embedded, device: torch.device) -> list[Result]:
    """Score every stage, a row each, and mark the one with the best linear probe on the validation share of train."""
    labels, answers = train.labels.to(device), test.labels.to(device)
    rows = []
    for stage, grid in train.grid.items():
        probed = linear.probe(grid.to(device), labels, test.grid[stage].to(device), answers)
        scored = {"l2": probed.l2, "validation": probed.validation}
        row: Result = {"features": features, "stage": stage, "dims": grid.shape[1], "chosen": False}
        row["knn"] = _nearest(train.mean[stage].to(device), labels, test.mean[stage].to(device), answers)
        row["linear"] = _score(probed.predictions, answers) | scored
        rows.append(row)
    max(rows, key=lambda row: row["linear"]["validation"])["chosen"] = True
    return rows


def _nearest(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> dict[str, float]:
    """Score nearest neighbours, k being the best on the validation share of train (of equals, the largest)."""
    held = linear.stratified(labels)
    tried = knn.knn(train[~held], labels[~held], train[held])
    right = {k: int((votes == labels[held]).sum()) for k, votes in tried.items()}
    k = max(tried, key=lambda k: (right[k], k))
    validation = right[k] / int(held.sum())
    return _score(knn.knn(train, labels, test, [k])[k], answers) | {"k": k, "validation": validation}


def _score(predictions: Tensor, answers: Tensor) -> dict[str, float]:
    right = int((predictions == answers).sum())
    return {"accuracy": right / len(answers), **wilson(right, len(answers))._asdict()}


def _chance(labels: Tensor, answers: Tensor) -> float:
    """Accuracy of always naming the most frequent class of train."""
    return float((answers == labels.mode().values).double().mean())
