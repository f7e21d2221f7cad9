"""What stands beside a run across domains: read-outs of its features, and runs on the source and the target alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.runs import find
from pretext.evaluation.adaptation import Readout, aligned, gap_closed, readout
from pretext.evaluation.statistics.intervals import accuracy_of
from pretext.supervised.scores import FILE

SOURCE_ONLY, ON_TARGET = "source only", "train on target"
LABELS = "labels alone"
"""What a run without a method is called: whose labels they are, its data say."""


@dataclass(frozen=True)
class Beside:
    """Tested runs that a run is compared with.

    Args:
        source_only: trained on the source's labels alone.
        on_target: trained on the target's labels: `--data.labelled target`.

    """

    source_only: str | None = None
    on_target: str | None = None


ALONE = Beside()


class Features(NamedTuple):
    """Pooled features of both domains."""

    source: Tensor
    """(N, D) of the source's training items, with their labels"""
    labels: Tensor
    target: Tensor
    """(M, D) of the target's training items, which have none"""
    test: Tensor
    """(L, D) of the target's test items."""


def features_of(
    batches: Iterable[Mapping[str, Any]], see: Callable[[dict[str, Any]], Tensor], device: torch.device, test: Tensor
) -> Features:
    """Look at the training items of both domains once, and put them beside the target's test items (L, D)."""
    parts: dict[str, list[Tensor]] = {"source": [], "target": [], "y": []}
    for batch in batches:
        here = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in batch.items()}
        parts[batch["domain"]].append(see(here))
        if "y" in batch:
            parts["y"].append(batch["y"])
    return Features(gathered(parts["source"]), torch.cat(parts["y"]).cpu(), gathered(parts["target"]), test)


def read_out(features: Features) -> list[Readout]:
    """Classify the target's test items by what the features say of the source: as they are, and aligned."""
    source, labels, target, test = features
    return [readout(source, labels, target, test), aligned(source, labels, target, test)]


def rows_of(found: list[Readout], answers: Tensor) -> list[dict[str, Any]]:
    """Score read-outs by the target's test labels, (L,), which are looked at here and nowhere else."""
    names = ["read-out as it is", *(f"subspace alignment ({one.dims} axes)" for one in found if one.dims)]
    return [
        {"name": name, **accuracy_of(one.predictions, answers), "chosen": False}
        for name, one in zip(names, found, strict=True)
    ]


def with_gaps(
    rows: list[dict[str, Any]], measure: str, others: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Add the rows of other runs, and tell of each the share of the gap that it closes, where both ends are known."""
    beside = ({"name": name, **{k: row[k] for k in (measure, "low", "high")}} for name, row in others.items())
    every = [*rows, *({**row, "chosen": False} for row in beside)]
    known = SOURCE_ONLY in others and ON_TARGET in others
    for row in every:
        ends = (others[SOURCE_ONLY][measure], others[ON_TARGET][measure]) if known else None
        row["gap_closed"] = None if ends is None else gap_closed(row[measure], *ends)
    return every


def others(beside: Beside, classes: list[str], items: int) -> dict[str, dict[str, Any]]:
    """Read the results of other runs, by what they stand for.

    Raises:
        FileNotFoundError: no such run, or it was not tested.
        ValueError: it is of other classes or of another test set.

    """
    found = {}
    for name, run in ((SOURCE_ONLY, beside.source_only), (ON_TARGET, beside.on_target)):
        if run is None:
            continue
        file = Path(find(run)) / FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there; test that run first: pretext test {run}")
        score = json.loads(file.read_text(encoding="utf-8"))
        same = score.get("classes") == classes and score.get("items") == items
        got = f"{run} was tested on {score.get('items')} items of {len(score.get('classes', []))} classes"
        require(same, "Beside", got, f"give a run tested on the same {items} items of {len(classes)} classes")
        found[name] = score["rows"][0]
    return found


def gathered(parts: list[Tensor]) -> Tensor:
    """Join batches on the CPU."""
    return torch.cat([part.float().cpu() for part in parts])
