"""What a search of cells leaves beside its run: genotype, config of the network, and a page with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor
from yaml import safe_dump

from pretext.backbones.cost import Cost
from pretext.backbones.genotype import INPUTS, OPERATIONS, Genotype
from pretext.core.files import write_json, write_whole
from pretext.report.cells import drawn
from pretext.report.page import Tile, write_page
from pretext.report.plot import Axis, Frame, Key, figure, group, legend, svg, tag
from pretext.report.table import Column, Row, Table
from pretext.training.found import Found

GENOTYPE, NETWORK, PAGE = "genotype.json", "network.yaml", "search.html"
KINDS = ("Normal cells", "Reduction cells")


def write_found(found: Found, command: str) -> list[Path]:
    """Write the genotype, the config of the network and the page into the run; return the three paths."""
    head = f"# The network that the search {found.run} found.\n# Command:  pretext fit -c {NETWORK}\n"
    genotype = write_json(found.run / GENOTYPE, found.genotype.plain())
    network = write_whole(found.run / NETWORK, head + safe_dump(found.network, sort_keys=False, width=120))
    tasks = found.config["model"]["init_args"].get("tasks") or {}
    facts = {
        "loss of the search": ", ".join(tasks) or "labels",
        "steps": found.steps[-1] if found.steps else 0,
        "data": f"{found.config['data']['class_path']} {found.config['data'].get('init_args') or ''}",
        "seed": found.config.get("seed_everything", 0),
    }
    page = write_page(
        found.run / PAGE, "cells.html", str(found.run.name), "a search of cells",
        tiles=_tiles(found.genotype, found.cost, f"without classifier, {found.side} px"), cells=drawn(found.genotype),
        evolution=_evolution(found.steps, found.weights), edges=edges(found.genotype), command=command, facts=facts,
        network=(found.run / NETWORK).read_text(encoding="utf-8"),
    )  # fmt: skip
    return [genotype, network, page]


def write_genotype(genotype: Genotype, file: Path, name: str, price: Cost, what: str, facts: Mapping[str, Any]) -> Path:
    """Write the page of a genotype that no search of ours found; `what` says of which network `price` is."""
    return write_page(
        file, "cells.html", name, "a genotype", tiles=_tiles(genotype, price, what), cells=drawn(genotype),
        evolution=Markup(""), edges=edges(genotype), command="", facts=facts, network="",
    )  # fmt: skip


def edges(genotype: Genotype) -> Table:
    """List the edges of both cells."""
    columns = [Column("Node", words=True), Column("Normal cell", words=True), Column("Reduction cell", words=True)]
    rows = []
    for place, both in enumerate(zip(genotype.normal, genotype.reduce, strict=True)):
        said = (f"{operation} of {_state(source)}" for operation, source in both)
        rows.append(Row([str(place // 2), *said], section=str(place // 2)))
    return Table("Edges", columns, rows)


def _state(source: int) -> str:
    return ("c(k-2)", "c(k-1)")[source] if source < INPUTS else f"node {source - INPUTS}"


def _tiles(genotype: Genotype, price: Cost | None, what: str) -> list[Tile]:
    tiles: list[Tile] = []
    if price is not None:
        tiles.append(("Parameters", _millions(price.parameters), [f"{price.parameters:,}", what]))
        tiles.append(("Multiply-adds", _millions(price.multiply_adds), [f"{price.multiply_adds:,}", what]))
    free = sum(operation == "skip_connect" for cell in genotype for operation, _ in cell)
    return [*tiles, ("Skip connections", str(free), [f"of {sum(map(len, genotype))} edges"])]


def _millions(count: int) -> str:
    return f"{count / 1e6:.4g} M"


def _evolution(steps: Sequence[int], weights: Sequence[Tensor]) -> Markup:
    """Draw for each kind of cell how much each operation weighed over the steps, averaged over edges."""
    if len(steps) < 2:
        return Markup("")
    panels = []
    for kind, title in enumerate(KINDS):
        for place, name in enumerate(OPERATIONS):
            means = [float(w[kind, :, place].mean()) for w in weights]
            most = [float(w[kind, :, place].max()) for w in weights]
            panels.append(_panel(f"{title}: {name}", steps, means, most, max(0.3, *(float(w.max()) for w in weights))))
    keys = [Key("trained", "mean over edges", shape=""), Key("rest", "largest of any edge", shape="")]
    return legend(keys) + tag("div", *panels, kind="panels")


def _panel(title: str, steps: Sequence[int], means: Sequence[float], most: Sequence[float], high: float) -> Markup:
    frame = Frame(Axis(steps[0], steps[-1], 34, 216), Axis(0.0, high, 116, 8))
    parts = [frame.rows(2), frame.below({steps[0]: f"{steps[0]}", steps[-1]: f"{steps[-1]}"})]
    parts.append(group("rest", frame.line(zip(steps, most, strict=True))))
    parts.append(group("trained", frame.line(zip(steps, means, strict=True))))
    return figure(title, svg(f"{title}: {means[-1]:.3f}", 220, 138, *parts))
