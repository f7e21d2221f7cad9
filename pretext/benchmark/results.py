"""What a leaderboard is made of: boards of cells, a cell being one entry with one seed, with a row for each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pretext.evaluation.available import descriptions
from pretext.evaluation.protocol import Description
from pretext.evaluation.results import Curves, StageRow, curves_from_json, curves_to_json

KINDS = {"trained": "", "random": "random initialisation", "raw": "raw input", "supervised": "trained with labels"}
OPTIONAL = ("entry", "data", "protocol", "architecture", "described", "compared", "test")


@dataclass(frozen=True)
class CellResult:
    """What came of one entry with one seed on one board.

    Args:
        kind: a key of `KINDS`.
        seed: of the training; of a baseline its number.
        entry: its name; None in the file of a baseline, which belongs to several entries.
        rows: a row for each stage; none where it failed.
        curves: "low_label", and those of plug-ins.
        pretext: {"skill": 0.31, "scores": {"turn/accuracy": 0.64}, "chance": {"turn/accuracy": 0.25}}, and
            "control": the share of this that is left on puzzles without the relation that they ask about.
        seconds: {"train": 212.0, "probe": 14.0}.
        command: which trained it.
        failed: why there are no rows.
        data: as in `ProbeResult`, as are `protocol` and `described`.
        protocol: see there.
        architecture: of a baseline: what it has in common with the networks that it is compared with.
        described: see there.
        compared: of an entry: the files of its baselines.
        test: of an evaluator: what `pretext test` gives of its run, {"accuracy": 0.71, "low": 0.7, "high": 0.72}.

    """

    kind: str
    seed: int
    entry: str | None = None
    rows: tuple[StageRow, ...] = ()
    curves: Curves = field(default_factory=dict)
    pretext: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] | None = None
    command: str | None = None
    failed: str | None = None
    data: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    architecture: str | None = None
    described: Mapping[str, Mapping[str, Any]] | None = None
    compared: tuple[str, ...] | None = None
    test: Mapping[str, float] | None = None

    @property
    def finished(self) -> bool:
        """Whether it has figures."""
        return not self.failed and bool(self.rows)

    @property
    def reason(self) -> str:
        """Why it failed, in one line."""
        return " ".join((self.failed or "").split())

    @property
    def chosen(self) -> StageRow | None:
        """The row that was chosen on validation; the only one there is was not chosen, but leaves no choice."""
        rows = self.rows if self.finished else ()
        return next((row for row in rows if row.chosen or len(rows) == 1), None)

    def to_json(self) -> dict[str, Any]:
        """Return what the file of a cell holds."""
        facts = {
            key: getattr(self, key) for key in ("entry", "kind", "seed", "pretext", "seconds", "command", "failed")
        }
        facts |= {key: getattr(self, key) for key in OPTIONAL}
        given = {key: value for key, value in facts.items() if value is not None or key not in OPTIONAL}
        if self.compared is not None:
            given["compared"] = list(self.compared)
        return {**given, "rows": [row.to_json() for row in self.rows], **curves_to_json(self.curves)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> CellResult:
        """Read what the file of a cell holds; what was not measured may be missing."""
        facts = {key: plain.get(key) for key in cls.__dataclass_fields__ if key not in ("rows", "curves", "compared")}
        rows = tuple(map(StageRow.from_json, plain.get("rows") or ()))
        compared = plain.get("compared")
        return cls(
            rows=rows,
            curves=curves_from_json(plain, {*facts, "rows", "compared"}),
            compared=None if compared is None else tuple(compared),
            **cast(dict[str, Any], facts),
        )


@dataclass(frozen=True)
class Board:
    """All cells on one set of data.

    Args:
        name: of the board.
        data: as in `ProbeResult`, as is `protocol`; empty while nothing is finished.
        protocol: see there.
        planned: how many cells there will be.
        cells: those that are finished or have failed.
        amounts: of entries that belong to curves over an amount: its place on each.
        amount: what that is of, such as "images without labels".
        notes: sentences that a reader of its figures should know.

    """

    name: str
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    planned: int
    cells: tuple[CellResult, ...]
    amounts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    amount: str = "amount"
    notes: tuple[str, ...] = ()

    @property
    def descriptions(self) -> tuple[Description, ...]:
        """What the protocols say of themselves whose scores may be among the cells."""
        return descriptions({name: plain for cell in self.cells for name, plain in (cell.described or {}).items()})

    @property
    def status(self) -> str:
        """How much of it there is: "31 of 33 cells; failed: jigsaw, seed 2 (diverged)"."""
        done, failed = sum(cell.finished for cell in self.cells), [cell for cell in self.cells if cell.failed]
        parts = [f"{done} of {max(self.planned, len(self.cells))} cells"]
        if failed:
            parts.append("failed: " + ", ".join(f"{cell.entry}, seed {cell.seed} ({cell.reason})" for cell in failed))
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        facts = {"name": self.name, "data": self.data, "protocol": self.protocol, "planned": self.planned}
        more: dict[str, Any] = {"amounts": self.amounts, "amount": self.amount} if self.amounts else {}
        more |= {"notes": list(self.notes)} if self.notes else {}
        return {**facts, **more, "cells": [cell.to_json() for cell in self.cells]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Board:
        """Read what `to_json` returned."""
        cells = tuple(map(CellResult.from_json, plain["cells"]))
        more = {key: plain[key] for key in ("amounts", "amount") if key in plain}
        notes = tuple(plain.get("notes", ()))
        return cls(plain["name"], plain["data"], plain["protocol"], plain["planned"], cells, **more, notes=notes)
