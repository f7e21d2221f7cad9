"""The two cells of a genotype as pictures: which operation carries what to which node."""

from __future__ import annotations

from markupsafe import Markup

from pretext.backbones.genotype import INPUTS, Edge, Genotype
from pretext.report.plot import figure, group, mark, svg, tag, text

ROW, WIDE, LABEL, LEFT = 30.0, 150.0, 112.0, 40.0  # height of an edge, width of a node's part, of its label
NAMES = ("c(k-2)", "c(k-1)")
"""The inputs of a cell: the output of the cell before the last one, and of the last one."""


def drawn(genotype: Genotype) -> Markup:
    """Draw both cells."""
    return Markup("").join(
        figure(title, _cell(title, edges), wide=True)
        for title, edges in (("Normal cell", genotype.normal), ("Reduction cell", genotype.reduce))
    )


def _cell(title: str, edges: tuple[Edge, ...]) -> Markup:
    """Draw a cell as a circuit: a line down for each input and node, a row for each edge."""
    nodes = len(edges) // 2
    height = 34 + ROW * len(edges)
    parts = []
    for state in range(INPUTS + nodes):
        first = 22.0 if state < INPUTS else 22 + ROW * (2 * (state - INPUTS) + 0.5)
        last = _last_use(state, edges, height)
        parts.append(group("other", tag("path", kind="line", d=f"M{_x(state):.1f} {first:.1f}V{last:.1f}")))
        if state < INPUTS:
            parts.append(text(_x(state), first - 9, NAMES[state], "middle", "words"))
        else:
            parts.append(text(_x(state) + 8, first + ROW / 2 + 4, str(state - INPUTS), kind="words"))
    for place, (operation, source) in enumerate(edges):
        parts.append(_edge(operation, source, INPUTS + place // 2, 22 + ROW * (place + 0.5)))
    joined = tag("path", kind="line", d=f"M{_x(INPUTS):.1f} {height:.1f}H{_x(INPUTS + nodes - 1):.1f}")
    parts += [group("supervised", joined), text(_x(INPUTS) - 8, height + 4, "joined: c(k)", "end", "words")]
    return svg(title, _x(INPUTS + nodes - 1) + 24, height + 14, *parts, kind="scatter")


def _edge(operation: str, source: int, node: int, y: float) -> Markup:
    """Draw a row: a dot where it leaves its source, the operation's name on it, and a dot at its node."""
    line = tag("path", kind="line", d=f"M{_x(source):.1f} {y:.1f}H{_x(node):.1f}")
    kind = "raw" if operation in ("none", "skip_connect") else "trained"
    name = text(_x(node) - 10, y - 5, operation, "end", "words")
    return group(kind, line, mark(_x(source), y), mark(_x(node), y, shape="square"), name)


def _x(state: int) -> float:
    """Place the line of an input (0 and 1) or of a node."""
    return LEFT + 44 * state if state < INPUTS else LEFT + 44 + LABEL + WIDE * (state - INPUTS) + 14


def _last_use(state: int, edges: tuple[Edge, ...], height: float) -> float:
    """Find how far down a line goes: inputs to their last use, nodes to where all are joined."""
    uses = [22 + ROW * (place + 0.5) for place, (_, source) in enumerate(edges) if source == state]
    return max(uses, default=22.0) if state < INPUTS else height
