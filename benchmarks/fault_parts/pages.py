"""Names and results with markup in them: what pages make of them, as text and in a browser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from schedule import Answer, Clock

from fault_parts.browser import Browser, browser
from fault_parts.place import Place, must
from fault_parts.samples import picture
from fault_parts.setting import Setting, of_pictures

SCRIPT = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
NAMES = [f"a{SCRIPT.replace('/', '')}", 'b"onmouseover="window.pwned=1', "c\nnew\tline", "d..", "e'&<b>bold"]
"""Names of classes and files."""
TAGS = ("script", "img", "iframe", "object", "embed", "form", "base", "link")
"""What a name could become on a page that would do something."""


def results(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Write markup into every text of a run's results, and look at the page."""
    place = Place(setting, f"results {SCRIPT.replace('/', '')}").trained()
    must(place.home, "probe", place.run, "--protocols", "knn", "linear")
    for name in ("probe.json", "chance.json", "environment.json"):
        file = place.run / name
        file.write_text(json.dumps(_poisoned(json.loads(file.read_text()))))
    metrics = (place.run / "metrics.csv").read_text()
    (place.run / "metrics.csv").write_text(metrics.replace("train/loss", f'"train/{SCRIPT}"'))
    (place.run / "skipped.txt").write_text(f"{SCRIPT}\t{SCRIPT}\n")
    (place.run / "config.yaml").write_text((place.run / "config.yaml").read_text() + f"# {SCRIPT}\n")
    code, said = place.call("report", place.run)
    if code:
        raise AssertionError(said)
    return {"answer": looked_at([place.run / "report.html"])}


def _poisoned(content: Any) -> Any:
    """Put markup behind every text of plain data but those that name a figure."""
    if isinstance(content, dict):
        return {key: _poisoned(part) for key, part in content.items()}
    if isinstance(content, list):
        return [_poisoned(part) for part in content]
    return content + SCRIPT if isinstance(content, str) and content not in FROZEN else content


FROZEN = ("knn", "linear", "trained", "random", "raw")
"""Words by which results are read."""


def names(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train, probe, compare, rank and search where classes, files, boards and the run have markup in their names."""
    place = Place(setting, "names")
    data, number = place.home / "data", 0
    for split in ("train", "test"):
        for name in NAMES:
            (data / split / name).mkdir(parents=True)
            for k in range(6):
                number += 1
                Image.fromarray(picture(number, 32)).save(data / split / name / f"{name}{k}.png")
            (data / split / name / f"bad {name}.png").write_bytes(b"no picture")
    config = of_pictures(data, None, 1)
    config["data"]["init_args"]["reading"] = {"workers": 1, "max_bad": 0.5}
    config["model"]["tasks"]["split"] = {"class_path": "pretext.Contrast"}  # names of tasks are plain words
    rank = {"class_path": "pretext.evaluation.fitness.EffectiveRank"}
    config["evolve"] = {"candidates": 4, "steps": 1, "items": 20, "fitness": rank}
    file, run = setting.write("hostile-names", config), place.home / f"run {NAMES[0]}"
    labelled = {"data": "datamodules.ImageFolder", "data.root": str(data), "data.canvas": 32}
    board = {"data": {**labelled, "data.reading.max_bad": 0.5}, "entries": {f"../../{SCRIPT}": {"run": str(run)}}}
    (place.home / "suite.yaml").write_text(yaml.safe_dump({"title": SCRIPT, "seeds": [0], "boards": {SCRIPT: board}}))
    must(place.home, "fit", "-c", file, "--trainer.default_root_dir", run)
    must(place.home, "probe", run, "--protocols", "knn", "linear")
    must(place.home, "report", run)
    must(place.home, "compare", run, "--out", "compare.html")
    must(place.home, "bench", "suite.yaml", "--out", "bench")
    must(place.home, "evolve", "-c", file, "--out", "evolve", "--study", f"s {NAMES[0]}")
    place.untouched()
    listed = len((run / "skipped.txt").read_text().strip().split("\n"))
    outside = [path.name for path in place.home.iterdir()]
    if odd := set(outside) - {"data", run.name, "suite.yaml", "compare.html", "bench", "evolve"}:
        raise AssertionError(f"written outside of where it belongs: {odd}")
    pages = sorted(place.home.rglob("*.html"))
    return {"answer": f"{looked_at(pages)}; {listed} bad files listed, one a line"}


class _Tags(HTMLParser):
    """Counts the tags of a page that could do something, and attributes that call scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = (value or "" for name, value in attrs if name == {"img": "src", "link": "href"}.get(tag))
        data = tag in ("img", "link") and all(value.startswith("data:") for value in inside)
        if tag in TAGS and not data:
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name.startswith("on")]


def looked_at(pages: list[Path]) -> str:
    """Read pages as text, and open them in a browser where there is one.

    Raises:
        AssertionError: markup was injected, or the browser complains.

    """
    for page in pages:
        if (found := _Tags(page).found) != ["script"] or "Content-Security-Policy" not in page.read_text():
            raise AssertionError(f"{page.name}: {found}")
    told = f"{len(pages)} pages: a script of their own each, no markup injected"
    if browser() is None:
        return f"{told}; not opened, no Chromium here"
    window = Browser()
    try:
        for page in pages:
            complaints, pwned = window.complaints(page, "window.pwned || 0")
            if complaints or pwned:
                raise AssertionError(f"{page.name}: {complaints or 'a script ran'}")
    finally:
        window.close()
    return f"{told}; Chromium: nothing ran, nothing in the console"
