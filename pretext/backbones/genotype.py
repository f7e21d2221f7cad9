"""A genotype: which operations join which inputs in the two cells of a searched architecture; the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pretext.core.errors import require

INPUTS = 2
"""Inputs of a cell: 0 is the output of the cell before the last one, 1 that of the last one; nodes count from 2."""
NONE = "none"
OPERATIONS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The operations of the DARTS space (https://arxiv.org/abs/1806.09055), in its order."""
Edge = tuple[str, int]
"""An operation, and which input or node it reads."""
Plain = dict[str, list[list[Any]]]
"""A genotype as a file has it: {"normal": [["sep_conv_3x3", 0], ...], "reduce": ...}."""


class Genotype(NamedTuple):
    """The wiring of a normal and of a reduction cell: two edges for each node, nodes in order."""

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]

    @property
    def nodes(self) -> int:
        """How many nodes a cell has."""
        return len(self.normal) // 2

    def plain(self) -> Plain:
        """Return what a file holds."""
        return {name: [list(edge) for edge in edges] for name, edges in self._asdict().items()}


class Published(NamedTuple):
    """A genotype of UnNAS (https://arxiv.org/abs/2003.12056), the widths it was trained with, and its parameters."""

    genotype: Genotype
    width: int
    """For ImageNet: 14 cells, 1,000 classes."""
    parameters: int
    """Of that network, without an auxiliary classifier."""
    segmentation_width: int
    """For Cityscapes: 12 cells with one reduction, 19 classes."""
    segmentation_parameters: int


def genotype_of(given: str | Mapping[str, Any] | Genotype) -> Genotype:
    """Read a genotype: a published one by name, a JSON file, or its two cells as plain data.

    Raises:
        ValueError: an unknown name, operation or input, or cells of other numbers of edges than two for each node.
        OSError: there is no such file.

    """
    if isinstance(given, Genotype):
        return checked(given)
    if isinstance(given, str) and given in published():
        return published()[given].genotype
    if isinstance(given, str) and not given.endswith(".json"):
        close = get_close_matches(given, published(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"choose one of {', '.join(published())}"
        raise ValueError(f"Genotype: no published genotype {given!r}; {hint} Or name a file that ends with .json")
    return _read(_content(Path(given)) if isinstance(given, str) else given)


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Genotype: {file} is no JSON ({error}); give what `pretext nas search` wrote") from error


def checked(genotype: Genotype) -> Genotype:
    """Return a genotype whose operations and inputs exist.

    Raises:
        ValueError: as in `genotype_of`.

    """
    wanted = "give two [operation, input] pairs for each node, the same number in both cells"
    sizes = f"{len(genotype.normal)} normal and {len(genotype.reduce)} reduction edges"
    fits = len(genotype.normal) == len(genotype.reduce) and genotype.nodes > 0 and len(genotype.normal) % 2 == 0
    require(fits, "Genotype", sizes, wanted)
    for cell, edges in genotype._asdict().items():
        for place, (operation, source) in enumerate(edges):
            node = INPUTS + place // 2
            got = f"{cell} edge {place} is [{operation}, {source}]"
            require(operation in OPERATIONS, "Genotype", got, f"operations are {', '.join(OPERATIONS)}")
            require(0 <= source < node, "Genotype", got, f"node {node} reads an input from 0 to {node - 1}")
    return genotype


@cache
def published() -> dict[str, Published]:
    """Return the 13 published genotypes by name."""
    content = json.loads(Path(__file__).with_name("genotypes.json").read_text(encoding="utf-8"))["genotypes"]
    return {
        name: Published(_read(entry), *(entry[field] for field in Published._fields[1:]))
        for name, entry in content.items()
    }


def _read(content: Any) -> Genotype:
    """Read plain data, ours or UnNAS' (which also names the nodes that are joined: always all)."""
    try:
        cells = [_edges(content[cell]) for cell in ("normal", "reduce")]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Genotype: got {str(content)[:80]!r}; it wants normal and reduce, each a list of [operation, input] pairs"
        ) from error
    return checked(Genotype(*cells))


def _edges(pairs: Sequence[Sequence[Any]]) -> tuple[Edge, ...]:
    return tuple((str(operation), int(source)) for operation, source in pairs)
