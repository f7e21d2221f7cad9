"""The page of predicted networks, its CSV and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from markupsafe import Markup

from pretext.core.files import write_json, write_whole
from pretext.evaluation.statistics.intervals import student
from pretext.report.chart import Chart, Level, Series
from pretext.report.page import Tile, write_page
from pretext.report.plot import Key, legend, tag
from pretext.report.table import STAR, Cell, Column, Row, Table
from pretext.report.words import figure
from pretext.transfer.task_transfer.results import FEW, START, SUPERVISED, Predictions
from pretext.transfer.task_transfer.selection import TRIVIAL, TTNET, WAYS

KINDS = {TTNET: "curve-0", "ridge": "curve-1", "mean": "curve-2", "best source": "control"}
"""The colour of each way."""
ASIDE = 0.05
"""How far the ways stand apart, in sources, so that their intervals can be told apart."""


def write_all(found: Predictions, folder: Path, command: str, environment: Mapping[str, Any]) -> None:
    """Write predict.html, .csv and .json."""
    write_html(found, folder / "predict.html", command, environment)
    write_whole(folder / "predict.csv", every(found).csv())
    write_json(folder / "predict.json", found.to_json())


def write_html(found: Predictions, file: Path, command: str, environment: Mapping[str, Any]) -> Path:
    """Write the page, finished or not; the file is replaced as a whole."""
    about = f"{len(found.targets)} of {found.planned} targets predicted"
    return write_page(
        file, "predict.html", found.title, about,
        findings=findings(found), tiles=_tiles(found),
        losses=losses(found), wins=wins(found, SUPERVISED, "supervised networks"),
        trivial=against_trivial(found), left=left_out(found), reuse=reuse(found), study=study(found),
        warnings=[said for one in found.done for said in (one.warning, one.unlearnt) if said],
        failed={one.target: one.failed for one in found.targets if one.failed}, entries=every(found),
        command=command, environment=environment,
    )  # fmt: skip


def losses(found: Predictions) -> Table | None:
    """Show the mean loss of each way on each target; 1 is a blind guess."""
    ways = list(dict.fromkeys(way for one in found.done for way in one.losses))
    columns = [Column("Way", words=True, first="ascending")]
    columns += [Column(one.target, form=".3f", first="ascending") for one in found.done]
    rows = []
    for way in ways:
        star = [STAR if way == one.chosen else "" for one in found.done]
        cells = [
            Cell(_known(one.mean(way)), star=mark, hover="did best on known tasks" if mark else "")
            for one, mark in zip(found.done, star, strict=True)
        ]
        rows.append(Row([way, *cells], _kind(way)))
    caption = f"{STAR} did best on known tasks that were left out, which is all that can be known without labels"
    return Table("Losses", columns, rows, caption, look="board") if rows else None


def wins(found: Predictions, other: str, title: str) -> Table | None:
    """Tell on how many test photos each way beats another one, with intervals."""
    targets = [one for one in found.done if one.losses]
    columns = [Column("Way", words=True, first="ascending")]
    columns += [Column(one.target, "%", ".0f", first="descending", bare=True) for one in targets]
    rows = []
    for way in dict.fromkeys(way for one in targets for way in one.losses if way != other):
        each = [one.win(way, other) for one in targets]
        rows.append(Row([way, *(Cell(*win) if win else Cell() for win in each)], _kind(way)))
    return Table(f"Win rates against {title}", columns, rows, look="board") if rows else None


def against_trivial(found: Predictions) -> Table | None:
    """Tell on how many test photos TTNet beats each trivial way."""
    targets = [one for one in found.done if one.losses]
    columns = [Column("TTNet against", words=True, first="ascending")]
    columns += [Column(one.target, "%", ".0f", first="descending", bare=True) for one in targets]
    rows = []
    for way in (*TRIVIAL, START):
        each = [one.win(TTNET, way) for one in targets]
        rows.append(Row([way, *(Cell(*win) if win else Cell() for win in each)], _kind(way)))
    return Table("TTNet against trivial ways", columns, rows, look="board") if targets else None


def left_out(found: Predictions) -> Table | None:
    """Tell how each way does on known tasks that were left out."""
    columns = [Column("Target", words=True, first="ascending"), Column("Way", words=True, first="ascending")]
    columns += [Column("Consistency", form="g"), Column("Cosine", form=".3f", first="descending")]
    columns += [Column("Loss", form=".3f", first="ascending")]
    rows = []
    for one in found.done:
        for way, consistency, cosine, loss in one.left:
            weight = consistency if way == TTNET else None
            rows.append(Row([one.target, way, weight, cosine, loss], _kind(way), one.target))
    return Table("Known tasks, each left out", columns, rows, look="board", names=1) if rows else None


def reuse(found: Predictions) -> Table | None:
    """Tell what predicted encoders are worth to a known task."""
    columns = [Column("Encoder of", words=True, first="ascending"), Column("Read for", words=True, first="ascending")]
    ways = list(dict.fromkeys(way for one in found.done for way in one.reuse))
    columns += [Column(way, form=".3f", first="ascending") for way in ways]
    rows = [Row([one.target, one.reused, *(one.reuse.get(w) for w in ways)]) for one in found.done if one.reuse]
    return Table("Predicted encoders as sources", columns, rows, look="board") if rows else None


def every(found: Predictions) -> Table:
    """List all ways and targets in full."""
    titles = ["loss", "win", "win_low", "win_high", "chosen"]
    columns = [Column("target", words=True), Column("way", words=True), *map(Column, titles)]
    rows = []
    for one in found.done:
        for way in one.losses or WAYS:
            win = one.win(way, SUPERVISED)
            chosen = "yes" if way == one.chosen else "no"
            rows.append(Row([one.target, way, _known(one.mean(way)), *(win or (None, None, None)), chosen]))
    return Table("Every prediction", columns, rows, look="board")


def study(found: Predictions) -> Markup | None:
    """Draw how often each way beats supervised networks, by the number of sources: mean over targets, 95 % of it.

    TTNet regresses weights alone here (the first of `regression.consistency`), whatever is chosen for a target.
    """
    if not found.study:
        return None
    sizes = sorted({len(one.sources) for one in found.study})
    lines = []
    for place, (way, kind) in enumerate(KINDS.items()):
        aside, points, bounds = ASIDE * (place - (len(KINDS) - 1) / 2), [], []
        for size in sizes:
            shares = _by_target(found, way, size)
            points.append((size + aside, 100 * mean(shares)))
            reach = student(shares) if len(shares) > 1 else (math.nan, math.nan)
            bounds.append((100 * reach[0], 100 * reach[1]))
        lines.append(Series(kind, points, bounds))
    chart = Chart("Beats supervised networks, % of photos, by number of sources", lines, [Level("chance", 50, "even")])
    keys = [Key(kind, way) for way, kind in KINDS.items()]
    return legend(keys) + tag("div", Markup(chart.__html__()), kind="charts")


def _by_target(found: Predictions, way: str, size: int) -> list[float]:
    """Average the win rates of all draws of a size, for each target."""
    targets = dict.fromkeys(one.target for one in found.study if len(one.sources) == size)
    own = {t: [o.wins[way] for o in found.study if o.target == t and len(o.sources) == size] for t in targets}
    return [mean(values) for values in own.values()]


def findings(found: Predictions) -> list[str]:
    """Say which way is best, and whether one can tell without labels which."""
    judged = [one for one in found.done if one.losses]
    if not judged:
        return ["Nothing is predicted yet, or nobody can judge it."]
    firsts = [min(WAYS, key=one.mean) for one in judged]
    most = max(map(firsts.count, WAYS))
    best = [way for way in WAYS if firsts.count(way) == most]
    of = f"of {len(judged)} target{'s' * (len(judged) > 1)}"
    other = "" if TTNET in best else f", {TTNET} on {firsts.count(TTNET)}"
    named = " and ".join(f"“{way}”" for way in best)
    has, each = ("has", "") if len(best) == 1 else ("have", " each")
    told = sum(one.chosen == first for one, first in zip(judged, firsts, strict=True))
    return [
        f"Without labels {named} {has} the lowest loss on {most} {of}{each}{other}.",
        f"The way that does best on known tasks is the best one on {told} {of}.",
    ]


def _tiles(found: Predictions) -> list[Tile]:
    """Choose numbers to remember."""
    judged = [one for one in found.done if one.losses]
    if not judged:
        return []
    tiles: list[Tile] = []
    for way in WAYS:
        rate = mean(win.rate for one in judged if (win := one.win(way, SUPERVISED)))
        best = sum(one.mean(way) == min(one.mean(w) for w in WAYS) for one in judged)
        tiles.append((f"{way} beats supervised", figure(rate), [f"of photos; best way on {best} of {len(judged)}"]))
    return tiles


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _kind(way: str) -> str:
    plain = way.removesuffix(FEW)
    return {START: "random", SUPERVISED: "supervised"}.get(plain, "trained" if plain == TTNET else "other")
