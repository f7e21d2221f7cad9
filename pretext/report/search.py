"""The page of a study: what `pretext evolve` found, as one HTML file with everything inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from pretext.core.files import write_whole
from pretext.report.run import fact_table, scroll_box
from pretext.report.search_figures import against_probe, over_time, weight_map, weight_panels
from pretext.report.search_marks import keys
from pretext.report.search_tables import control_table, every_candidate, importance_table
from pretext.search.analysis import controls, ended, fitness, fittest, probed, searched, weight_names
from pretext.search.conclusions import agreement, counted, duration, headline, named, number, percent
from pretext.search.importance import SHUFFLES, importance
from pretext.search.study import Candidate

FLATTERED = (
    "The fittest of many is flattered by chance: it is the highest of many noisy values, a control a single one."
)


def write_page(candidates: Sequence[Candidate], file: Path, title: str, facts: Mapping[str, Any]) -> None:
    """Write the page of a study, finished or not; the file is replaced as a whole, since other workers write it too.

    `facts` are printed at the end: "command" as what repeats the study, "config" (the text of the best candidate's
    config) folded away, everything else as a table of words.
    """
    style, script = _house()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = weight_names(candidates)
    page = Template((files("pretext.report") / "templates" / "search.html").read_text(encoding="utf-8")).substitute(
        digest=digest,  # the only script that may run
        style=style,
        script=script,
        name=escape(title),
        about=escape(f"{counted(candidates)} of {len(candidates)} candidates, {duration(_total(candidates))} in all"),
        headline=_headline(candidates),
        time=_time(candidates),
        weights=_weights(candidates, names),
        probe=_probe(candidates),
        importance=_importance(candidates),
        controls=f'{control_table(candidates)}<p class="soft">{FLATTERED}</p>',
        candidates=every_candidate(candidates, names),
        repeat=_repeat(facts),
        facts=fact_table({key: value for key, value in facts.items() if key not in ("command", "config")}),
    )
    write_whole(file, page)


def _house() -> tuple[str, str]:
    """Take the look of all pages, and the script that sorts tables, from where they are written once."""
    texts = [
        (files("pretext.report") / "templates" / f"{end}.html").read_text(encoding="utf-8")
        for end in ("run", "leaderboard")
    ]
    styles = [text.partition("<style>")[2].partition("</style>")[0].removeprefix("$style") for text in texts]
    return "".join(styles), texts[1].partition("<script>")[2].partition("</script>")[0]


def _total(candidates: Sequence[Candidate]) -> float:
    return sum(candidate.seconds or 0.0 for candidate in candidates)


# ---- The headline


def _headline(candidates: Sequence[Candidate]) -> str:
    first, *others = headline(candidates)
    words = f'<p class="verdict">{escape(first)}</p>' + "".join(f"<p>{escape(other)}</p>" for other in others)
    tiles = "".join(
        f'<div><dt>{escape(label)}</dt><dd class="number">{escape(value)}</dd><dd class="soft">{notes}</dd></div>'
        for label, value, notes in _tiles(candidates)
    )
    return f'{words}<dl class="headline">{tiles}</dl>'


def _tiles(candidates: Sequence[Candidate]) -> list[tuple[str, str, str]]:
    """Choose numbers to remember: label, value and notes (HTML)."""
    best, level = fittest(searched(candidates)), fittest(controls(candidates))
    tiles = []
    for label, c in (("Fittest of the search", best), ("Fittest control", level)):
        if c:
            probe = f"probe {percent(c.probe)}" if c in probed([c]) else "not probed"
            tiles.append((label, number(fitness(c)), f"{escape(named(c))}<br>{probe}"))
    begun = [c for c in candidates if c.state != "waiting"]
    done = sum(c.state == "done" for c in candidates)
    rest = counted([c for c in candidates if c.state != "done"])
    tiles.append(("Candidates done", f"{done} of {len(candidates)}", "" if rest == "none" else rest))
    wall = max((c.finished or 0.0 for c in candidates), default=0.0)
    steps = f"{sum(c.steps for c in begun):,} training steps"
    tiles.append(("Cost", duration(_total(candidates)), f"{steps}<br>{duration(wall)} from the first start"))
    return tiles


# ---- The parts


def _time(candidates: Sequence[Candidate]) -> str:
    drawn = over_time(candidates)
    if not drawn:
        return '<p class="missing">No candidate has a fitness yet.</p>'
    states = {c.state for c in ended(candidates)}
    kinds = [("searched", "searched")] if searched(candidates) else []
    kinds += [("searched line", "best so far")] if searched(candidates) else []
    kinds += [("pruned", "pruned, at its last fitness")] if "pruned" in states else []
    kinds += [("failed", "failed")] if "failed" in states else []
    kinds += [("control line", "control")] if controls(candidates) else []
    kinds += [("other line", "other task alone")] if len(controls(candidates)) > 3 else []
    return keys(kinds) + drawn


def _weights(candidates: Sequence[Candidate], names: Sequence[str]) -> str:
    panels = weight_panels(candidates, names)
    if not panels:
        return '<p class="missing">No candidate of the search is done yet.</p>'
    kinds = [("mean line", "mean of the fittest quarter so far"), ("searched", "in the fittest quarter now")]
    note = "From left to right: done candidates of the search, in order of finishing. Beside each name: the mean now. "
    note += "Optimisers such as Adam do not notice a factor common to all weights: what counts is their proportion."
    legend = keys([*kinds, ("rest", "other candidates")])
    stripes = weight_map(candidates, names)
    stripes = f"<h3>Sorted by fitness</h3>{stripes}" if stripes else ""
    return f'{legend}{panels}<p class="soft">{note}</p>{stripes}'


def _probe(candidates: Sequence[Candidate]) -> str:
    drawn = against_probe(candidates)
    if not drawn:
        return '<p class="missing">No candidate was probed on labels. The search never needs it.</p>'
    kinds = [("searched", "searched")] if searched(probed(candidates)) else []
    kinds += [("control", "control")] if controls(probed(candidates)) else []
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in agreement(candidates))
    note = "Bars: 95 % intervals of the accuracy over test items. The search never saw these labels."
    return f'{words}{keys(kinds)}{drawn}<p class="soft">{note}</p>'


def _importance(candidates: Sequence[Candidate]) -> str:
    found = importance(searched(candidates))
    if isinstance(found, str):
        return f'<p class="missing">{escape(found)}</p>'
    warning = f'<p class="missing">{escape(found.warning)}</p>' if found.warning else ""
    note = (
        "Share of the spread in the rank of fitness that a random forest explains by each weight (mean decrease of "
        f"impurity), over {found.n} done candidates of the search; how much a weight matters, not whether it should be "
        f"large. Upright mark: {found.chance:.2f}, the highest share of any weight in {SHUFFLES} shuffles of the "
        f"fitness, which chance passes in about 1 study of {SHUFFLES + 1}. * passes it."
    )
    return f'{warning}{importance_table(found)}<p class="soft">{note}</p>'


def _repeat(facts: Mapping[str, Any]) -> str:
    command = "".join(f"<span>{escape(word)}</span> " for word in str(facts.get("command", "")).split())
    parts = f'<pre class="command">{command}</pre>' if command else ""
    if "config" in facts:
        text = scroll_box("Config of the best", f"<pre>{escape(str(facts['config']).rstrip())}</pre>")
        parts += f"<details><summary>best.yaml</summary>{text}</details>"
    return parts or '<p class="missing">The command was not recorded.</p>'
