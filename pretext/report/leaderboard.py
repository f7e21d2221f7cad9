"""The leaderboard: what `pretext bench` measured, as one HTML file with everything inside, as Markdown and as CSV."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from pretext.benchmark.measures import measures, ranked_by
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.summary import EntrySummary, correlation, stage_order, stages, summary
from pretext.core.files import write_whole
from pretext.evaluation.statistics.ranking import Figure
from pretext.report.leaderboard_charts import Strip, baselines, curves, keys, scatter
from pretext.report.leaderboard_heat import Shades, heat_map
from pretext.report.leaderboard_text import (
    LEGEND,
    SKILL,
    interval,
    markdown,
    name,
    over,
    percent,
    ranks,
    spearman,
    table,
    title,
    write_csv,
)
from pretext.report.run import fact_table, scroll_box

__all__ = ["Board", "markdown", "summary", "table", "write_csv", "write_html"]

FOOTER = (
    "Every number on this page comes from the runs of the benchmark; nothing was chosen on test items. "
    "An interval that ends at the edge of a chart goes on beyond it."
)


def write_html(boards: Sequence[Board], file: Path, heading: str, command: str, environment: Mapping[str, Any]) -> None:
    """Write the page: one file with everything inside; what a board lacks is left out. Raises as `summary` does."""
    texts = [
        (files("pretext.report") / "templates" / f"{end}.html").read_text(encoding="utf-8")
        for end in ("run", "leaderboard")
    ]
    style, script = texts[0].partition("<style>")[2], texts[1].partition("<script>")[2]
    digest = hashlib.sha256(script.partition("</script>")[0].encode()).digest()
    entries = [summary(board) for board in boards]
    page = Template(
        texts[1]
    ).substitute(
        digest=base64.b64encode(digest).decode(),  # the only script that may run
        style=style.partition("</style>")[0],  # one look for all pages, see report.html
        name=escape(heading),
        about=escape(
            " · ".join(filter(None, (_total(boards), str(environment.get("date", ""))[:16].replace("T", " "))))
        ),
        contents=_contents(boards),
        overview=_overview(boards, entries),
        boards="".join(_board(*each) for each in zip(range(len(boards)), boards, entries, strict=True)),
        repeat=f'<pre class="command">{" ".join(f"<span>{escape(word)}</span>" for word in command.split())}</pre>',
        environment=fact_table({key: value for key, value in environment.items() if key != "command"}),
        legend=FOOTER,
    )
    write_whole(file, page)


def _total(boards: Sequence[Board]) -> str:
    cells = [cell for board in boards for cell in board.cells]
    taken = sum(sum((cell.seconds or {}).values()) for cell in cells)
    return f"{len(boards)} data sets, {len(cells)} runs, {_time(taken)} in all"


def _contents(boards: Sequence[Board]) -> str:
    links = (f'<a href="#board-{place}">{escape(board.name)}</a>' for place, board in enumerate(boards))
    return f"<nav>{' '.join(links)}</nav>" if len(boards) > 1 else ""


def _overview(boards: Sequence[Board], entries: Sequence[list[EntrySummary]]) -> str:
    """Lay all boards side by side, where there are several."""
    if len(boards) < 2:
        return ""
    found = [{entry.name: entry for entry in summarised} for summarised in entries]
    first = {name: entry for board in reversed(found) for name, entry in board.items()}
    names = list(dict.fromkeys(name for board in found for name in board))
    head = _head("Entry", "text", "ascending")
    head += "".join(_head(board.name, "number", "descending") for board in boards)
    rows = ""
    for label in names:
        cells = "".join(_share(board[label].main if label in board else None) for board in found)
        rows += f'<tr class="{first[label].kind}">{_entry(first[label], label)}{cells}</tr>'
    body = scroll_box("All boards", _sortable(head, rows))
    words = {ranked_by(board).title for board in boards}
    note = f"{', '.join(sorted(words))}, in %: mean over seeds, and its 95 % interval."
    return f'<section><h2>All boards</h2>{body}<p class="soft">{note}</p></section>'


def _board(place: int, board: Board, entries: list[EntrySummary]) -> str:
    chance = board.protocol.get("chance")
    levels = baselines(entries, float(chance) if isinstance(chance, int | float) else None)
    parts = [
        f'<section id="board-{place}"><h2>{escape(board.name)}</h2>',
        f'<p class="soft">{escape(title(board))}. {escape(board.status)}.</p>',
        _table(board, entries, levels) if entries else '<p class="missing">No cell is finished yet.</p>',
        _stages(entries, levels),
        _few(entries),
        _skill(board, entries, levels),
        _cost(entries),
        _more(board, entries),
        "</section>",
    ]
    return "".join(parts)


# ---- The parts of a board


def _table(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> str:
    strip = Strip.of(entries, levels)
    head = _head("Rank", "number", "ascending") + _head("Entry", "text", "ascending")
    head += _head(f"{ranked_by(board).title}, %", "number", "descending", now=True)
    head += f'<th scope="col" class="strips">{strip.head()}</th>'
    head += _head("kNN, %", "number", "descending") + _head("Stage", "text", "ascending")
    head += _head("Skill", "number", "descending") + _head("Seeds", "number", "descending")
    head += _head("Time", "number", "ascending")
    rows = ""
    for entry in entries:
        skill, total = entry.skill, sum(entry.seconds.values())
        stage = ", ".join(stage_order(entry.chosen)) or "-"
        rows += f'<tr class="{entry.kind}">'
        rows += _cell(ranks(entry), entry.ranks[0] if entry.ranks else None, "n") + _entry(entry, name(entry))
        rows += _share(entry.main) + f'<td class="strips">{strip.row(entry)}</td>' + _share(entry.others.get("knn"))
        rows += _cell(stage, stage) + _cell(f"{skill.value:.2f}" if skill else "-", skill.value if skill else None, "n")
        rows += _cell(str(entry.main.seeds if entry.main else 0), entry.main.seeds if entry.main else 0, "n")
        rows += _cell(_time(total) if total else "-", total or None, "n") + "</tr>"
    marks = keys([*levels, *(entry.kind for entry in entries)])
    note = f"{LEGEND} {over(entries)} Time: of a run, its training and its probe."
    note += " ⚠ Some of its seeds failed." if any(entry.failed for entry in entries) else ""
    return f'{marks}{scroll_box("Leaderboard", _sortable(head, rows))}<p class="soft">{escape(note)}</p>'


def _stages(entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> str:
    names, shown = stages(entries), [entry for entry in entries if entry.stages and entry.kind != "raw"]
    if not names:
        return ""
    shades = Shades.of([figure.value for entry in shown for figure in entry.stages.values()])
    note = "In %, mean over seeds. ★ chosen on validation by every seed, ☆ by some of them."
    legend = shades.legend({kind: levels[kind] for kind in ("chance", "raw") if kind in levels})
    box = scroll_box("Every stage", heat_map(shown, names, shades))
    return f'<h3>Every stage</h3>{box}{legend}<p class="soft">{note}</p>'


def _few(entries: Sequence[EntrySummary]) -> str:
    drawn = [entry for entry in entries if entry.curves.get("low_label", ())]
    if not drawn:
        return ""
    sizes = {few.name: f"{few.name} = {few.at:,.0f}" for entry in drawn for few in entry.curves.get("low_label", ())}
    note = f"Accuracy in % by number of labelled items ({', '.join(sizes.values())}), on a logarithmic scale, at the "
    note += (
        "stage chosen on validation. In grey the other entries. Bars: 95 % intervals, over seeds if there are several."
    )
    kinds = keys(entry.kind for entry in drawn)
    return f'<h3>Few labels</h3>{kinds}{curves(entries)}<p class="soft">{escape(note)}</p>'


def _skill(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> str:
    axis, levels = ranked_by(board).title, {kind: at for kind, at in levels.items() if kind != "chance"}
    drawn = scatter(entries, levels, axis)
    if not drawn:
        return ""
    marks = keys([*levels, "trained"])
    note = f"{spearman(correlation(entries))} {SKILL}"
    return f'<h3>Does the pretext score predict the probe?</h3>{marks}{drawn}<p class="soft">{escape(note)}</p>'


def _cost(entries: Sequence[EntrySummary]) -> str:
    taken = [entry for entry in entries if entry.seconds]
    most = max((sum(entry.seconds.values()) for entry in taken), default=0.0)
    if not most:
        return ""
    rows = ""
    for entry in taken:
        train, whole = entry.seconds.get("train", 0.0), sum(entry.seconds.values())
        bars = (
            f'<b style="width:{100 * train / most:.1f}%"></b><s style="width:{100 * (whole - train) / most:.1f}%"></s>'
        )
        words = f'<th scope="row">{escape(entry.name)}</th><td><div>{bars}</div></td><td class="n">{_time(whole)}</td>'
        rows += f"<tr>{words}</tr>"
    swatch = '<span class="swatch" style="background:var(--{})"></span>{}'
    note = f"{swatch.format('first', 'training')} {swatch.format('second', 'probe')}, mean over seeds."
    box = scroll_box("Cost per run", f'<table class="wide facts cost">{rows}</table>')
    return f'<h3>Cost per run</h3><p class="soft">{note}</p>{box}'


def _more(board: Board, entries: Sequence[EntrySummary]) -> str:
    """Fold away what few will want: other scores, every run, the protocol."""
    runs = "".join(_run(cell) for cell in board.cells)
    heads = "".join(f"<th>{word}</th>" for word in ("Entry", "Seed", "Pretext scores", "Command"))
    every = f"<table><thead><tr>{heads}</tr></thead><tbody>{runs}</tbody></table>"
    facts = {**{f"data: {key}": value for key, value in board.data.items()}, **board.protocol}
    parts = {
        "Other scores of the chosen stage": _others(board, entries),
        "Every run": every,
        "Protocol": fact_table(facts),
    }
    return "".join(
        f"<details><summary>{words}</summary>{scroll_box(words, content)}</details>"
        for words, content in parts.items()
        if content
    )


def _others(board: Board, entries: Sequence[EntrySummary]) -> str:
    columns = measures(board)
    if not columns:
        return ""
    head = _head("Entry", "text", "ascending")
    head += "".join(
        _head(one.title + (f", {one.metric.unit}" if one.metric.unit else ""), "number", "descending")
        for one in columns.values()
    )
    rows = ""
    for entry in entries:
        cells = "".join((_share if one.metric.unit else _raw)(entry.others.get(key)) for key, one in columns.items())
        rows += f'<tr class="{entry.kind}">{_entry(entry, entry.name)}{cells}</tr>'
    return _sortable(head, rows)


def _run(cell: CellResult) -> str:
    told = cell.pretext or {}
    chance = told.get("chance") or {}
    scores = [
        f"{key} {value:.4g}" + (f" (blind guess {chance[key]:.4g})" if key in chance else "")
        for key, value in (told.get("scores") or {}).items()
    ]
    failed = f"<strong>failed: {escape(cell.reason)}</strong> " if cell.failed else ""
    command = f"<code>{escape(cell.command or '')}</code>"
    text = f"<td>{escape(cell.entry or '')}</td><td>{cell.seed}</td><td>{escape(', '.join(scores)) or '-'}</td>"
    return f"<tr>{text}<td>{failed}{command}</td></tr>"


# ---- Cells and boxes


def _sortable(head: str, rows: str) -> str:
    return f'<table class="board sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _head(words: str, kind: str, first: str, now: bool = False) -> str:
    """Name a column; `first` is the order in which sorting by it begins, `now` whether it is sorted so already."""
    sorted_ = f' aria-sort="{first}"' if now else ""
    side = ' class="n"' if kind == "number" else ""
    return f'<th scope="col"{side} data-kind="{kind}" data-first="{first}"{sorted_}>{escape(words)}</th>'


def _cell(words: str, value: float | str | None, side: str = "") -> str:
    number = "" if value is None else escape(str(value))
    return f'<td class="{side}" data-value="{number}">{escape(words)}</td>'


def _entry(entry: EntrySummary, words: str) -> str:
    failed = f' title="failed: {escape("; ".join(entry.failed))}"' if entry.failed else ""
    return f'<th scope="row" data-value="{escape(words)}"{failed}>{escape(words)}{" ⚠" if entry.failed else ""}</th>'


def _share(figure: Figure | None) -> str:
    if not figure:
        return _cell("-", None, "n")
    bounds = f' <span class="soft">{interval(figure)}</span>' if figure.over else ""
    return f'<td class="n" data-value="{figure.value}">{percent(figure)}{bounds}</td>'


def _raw(figure: Figure | None) -> str:
    """Show a score that is no share."""
    if not figure:
        return _cell("-", None, "n")
    bounds = f' <span class="soft">{figure.low:.3g} to {figure.high:.3g}</span>' if figure.over else ""
    return f'<td class="n" data-value="{figure.value}">{figure.value:.3g}{bounds}</td>'


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours = f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if seconds < 3600 else hours
