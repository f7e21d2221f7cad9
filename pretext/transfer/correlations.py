"""How much tasks have to do with one another: from votes, from affinities, or from scores that took no training.

All end as one table: in row i and column j, what task i is worth to task j. Larger is more, 0 is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretext.core.errors import require
from pretext.transfer.answers import heading
from pretext.transfer.complete import Scale, standardise
from pretext.transfer.preferences import COLUMNS, Strengths, bradley_terry, read_preferences
from pretext.transfer.results import Measured
from pretext.transfer.tables import BAR, REFERENCES, Matrix, Transfer, first_order
from pretext.transfer.votes import Truth, dawid_skene, read_votes

Array = NDArray[np.float64]


class Correlations(NamedTuple):
    """Pairwise correlations of tasks."""

    names: tuple[str, ...]
    values: Array
    """(K, K): in row i and column j what i is worth to j; NaN where nobody knows"""

    def between(self, sources: Sequence[str], targets: Sequence[str]) -> Array:
        """Choose rows and columns: (S, T).

        Raises:
            ValueError: a task that is not there, or a pair without a value; the message names it.

        """
        lost = [name for name in dict.fromkeys((*sources, *targets)) if name not in self.names]
        verb, known = "are" if len(lost) > 1 else "is", ", ".join(self.names)
        require(not lost, "Correlations", f"{', '.join(lost)} {verb} not there", f"there are {known}")
        rows, columns = ([self.names.index(name) for name in names] for names in (sources, targets))
        found = self.values[np.ix_(rows, columns)]
        holes = [f"{sources[s]} to {targets[t]}" for s, t in np.argwhere(np.isnan(found)).tolist()]
        advice = "measure it, or predict it with `pretext transfer complete`"
        require(not holes, "Correlations", f"no value for {', '.join(holes[:3])}{' ...' * (len(holes) > 3)}", advice)
        return found

    @property
    def transfers(self) -> list[Transfer]:
        """List what is known, as rows of a table."""
        return [
            Transfer((self.names[i],), self.names[j], float(self.values[i, j]))
            for i, j in np.argwhere(~np.isnan(self.values)).tolist()
        ]


def read_correlations(file: str | Path) -> Correlations:
    """Read correlations from votes about pairs `a|b` of tasks: how much they have to do, or which pair has more.

    Raises:
        ValueError: as in what reads and weighs either kind of file, and as in `of_votes` or `of_preferences`.
        OSError: the file cannot be read.

    """
    if heading(file) == COLUMNS:
        return of_preferences(bradley_terry(read_preferences(file)))
    return of_votes(dawid_skene(read_votes(file)))


def of_votes(truth: Truth) -> Correlations:
    """Read correlations of pairs `a|b` from votes whose labels are numbers: the mean over what may be true.

    A pair counts both ways unless the other way was asked about too. Of a task with itself it is the largest label.

    Raises:
        ValueError: an item that is no pair, or a label that is no number.

    """
    require(is_about_pairs(truth), "of_votes", "votes of other things", f"items are pairs a{BAR}b, and labels numbers")
    labels = np.array([float(label) for label in truth.votes.labels])
    return _of_pairs(truth.votes.items, truth.chances @ labels, float(labels.max()))


def of_preferences(found: Strengths) -> Correlations:
    """Read correlations of pairs `a|b` from how often one pair was preferred to another: their strengths.

    A pair counts both ways unless the other way was asked about too. Of a task with itself it is the largest strength.

    Raises:
        ValueError: an item that is no pair.

    """
    items = found.preferences.items
    require(are_pairs(items), "of_preferences", "preferences among other things", f"items are pairs a{BAR}b")
    return _of_pairs(items, found.values, float(found.values.max()))


def is_about_pairs(truth: Truth) -> bool:
    """Tell whether votes are about pairs of tasks, with numbers as labels."""
    return are_pairs(truth.votes.items) and all(_is_number(label) for label in truth.votes.labels)


def are_pairs(items: Iterable[str]) -> bool:
    """Tell whether all items are pairs `a|b` of tasks."""
    return all(len(parts := item.split(BAR)) == 2 and all(parts) for item in items)


def of_transfers(transfers: Sequence[Transfer], scale: Scale = "log") -> Correlations:
    """Take a table of transfers: affinities ("log"), or other values ("linear"), standardised for each target.

    What `self` is worth to a target is its correlation with itself; without it, that of the best source.

    Raises:
        ValueError: no transfer of one source, or as in `complete.standardise`.

    """
    single = [t for t in transfers if t.order == 1 and t.sources[0] != "random"]
    own = [Transfer((t.target,), t.target, t.value) if t.sources[0] == "self" else t for t in single]
    return of_matrix(first_order(list({(t.sources, t.target): t for t in own}.values())), scale)


def of_matrix(matrix: Matrix, scale: Scale) -> Correlations:
    """Standardise a table for each target."""
    values = standardise(matrix, scale).values.numpy()
    there = np.argwhere(~np.isnan(values)).tolist()
    return _table({(matrix.sources[s], matrix.targets[t]): float(values[s, t]) for s, t in there})


def of_scores(measured: Iterable[Measured], score: str) -> Correlations:
    """Take scores that took no training from the cells of a map, such as "log_me", standardised for each target.

    Raises:
        ValueError: no cell has that score.

    """
    found = [m for m in measured if len(m.sources) == 1 and m.sources[0] not in REFERENCES and score in m.scores]
    require(bool(found), "of_scores", f"no transfer has a score {score!r}", "targets of classes have such scores")
    return of_transfers([Transfer(m.sources, m.target, m.scores[score]) for m in found], "linear")


def _table(values: Mapping[tuple[str, str], float], own: float | None = None) -> Correlations:
    """Arrange values by pair; `own`: of each task with itself, none: that of its best source."""
    names = tuple(dict.fromkeys(name for pair in values for name in pair))
    table = np.full((len(names), len(names)), np.nan)
    for (a, b), value in values.items():
        table[names.index(a), names.index(b)] = value
    for k, name in enumerate(names):
        if (name, name) not in values:
            column = table[:, k][~np.isnan(table[:, k])]
            table[k, k] = own if own is not None else column.max() if len(column) else np.nan
    return Correlations(names, table)


def _of_pairs(items: Sequence[str], values: Array, own: float) -> Correlations:
    """Arrange values (I,) of pairs; `own`: of each task with itself."""
    pairs = [tuple(item.split(BAR)) for item in items]
    said = {(a, b): value for (a, b), value in zip(pairs, values.tolist(), strict=True)}
    both = {(b, a): value for (a, b), value in said.items()}
    return _table(both | said, own)


def _is_number(label: str) -> bool:
    try:
        return bool(np.isfinite(float(label)))
    except ValueError:
        return False
