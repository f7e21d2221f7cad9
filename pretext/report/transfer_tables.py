"""Tables of `pretext transfer`: a policy, and what a completion predicts."""

from __future__ import annotations

import numpy as np

from pretext.report.table import Cell, Column, Row, Table
from pretext.transfer.complete import Completion
from pretext.transfer.policy import Policy


def policy_table(policy: Policy, holes: int = 0) -> Table:
    """Say which sources to train, and who serves each target; `holes`: transfers without a value."""
    columns = [Column("Target", words=True), Column("Served by", words=True), Column("Value", form=".6g")]
    rows = [Row([target, t.name, t.value]) for target, t in policy.transfers.items()]
    title = f"Train {', '.join(policy.sources)}: {policy.value:.6g} in all, for {policy.cost:g} of {policy.budget:g}"
    caption = f"{holes} transfers have no value and could not be chosen" if holes else ""
    return Table(title, columns, rows, caption)


def completion_table(found: Completion, method: str, higher: int = 0) -> Table:
    """List what is predicted, with intervals; `higher`: transfers of several sources, which stay as they are."""
    columns = [Column("Source", words=True), Column("Target", words=True), Column("Predicted", form=".3g")]
    rows = [
        Row([found.matrix.sources[s], found.matrix.targets[t], _cell(found, s, t)])
        for s, t in np.argwhere(found.predicted).tolist()
    ]
    notes = [f"{method}; 95 % intervals by refits on known entries drawn with replacement"]
    notes += ["it has one value for all sources of a target, so take another method"] * found.constant
    notes += [f"{higher} transfers of several sources are left as they are"] * bool(higher)
    return Table(f"{len(rows)} of {found.predicted.size} entries predicted", columns, rows, "; ".join(notes))


def _cell(found: Completion, s: int, t: int) -> Cell:
    return Cell(float(found.matrix.values[s, t]), float(found.low[s, t]), float(found.high[s, t]))
