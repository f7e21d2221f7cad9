"""What somebody else may have written: checkpoints, caches, studies, results, configs, names. Nothing of it may run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from schedule import Answer, Clock, Part, Question

from fault_parts.browser import Browser, browser
from fault_parts.calls import called
from fault_parts.samples import picture
from fault_parts.setting import Setting, of_pictures

ABOUT = "what others may have written"
SCRIPT = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
NAMES = [f"a{SCRIPT.replace('/', '')}", 'b"onmouseover="window.pwned=1', "c\nnew\tline", "d..", "e'&<b>bold"]
"""Names of classes and files."""
VERBS = {
    "fit": ["--trainer.max_epochs", "3"],
    "validate": [],
    "test": [],
    "predict": [],
    "show": [],
    "probe": ["--protocols", "knn"],
    "export": ["--to", "safetensors"],
    "report": [],
}
NO_MARKUP = {"report": 0}  # verbs that read no checkpoint end well
TAGS = ("script", "img", "iframe", "object", "embed", "form", "base", "link")
"""What a name could become on a page that would do something."""


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [Question("payloads work", partial(payloads_work, setting))]
    asked += [
        Question(f"checkpoint: {verb}", partial(checkpoint, setting, verb))
        for verb in setting.size([*VERBS], ["validate"])
    ]
    rest: dict[str, Callable[..., Answer]] = {
        "weights of another project": weights,
        "YAML tags": yaml_tags,
    }
    if not setting.small:
        rest |= {
            "checkpoint: names of classes": class_names,
            "cache of features": features,
            "cache of pictures": canvases,
            "study": study,
            "files of results": results,
            "names, on every page": names,
        }
    asked += [Question(name, partial(ask, setting)) for name, ask in rest.items()]
    return Part("hostile", ABOUT, 1.0, lambda: asked, table)


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch '{self.mark}'",)


class Place:
    """A folder with a finished run, and a mark that nothing may leave."""

    def __init__(self, setting: Setting, name: str) -> None:
        self.home, self.setting = setting.out / "hostile" / name, setting
        rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.mark = self.home / "executed"
        self.run = self.home / "run"

    def trained(self) -> Place:
        """Put a finished run there, a copy of one that is made once."""
        whole = self.setting.out / "hostile" / "whole"
        if not (whole / "checkpoints" / "last.ckpt").exists():
            config = self.setting.write("hostile", of_pictures(self.setting.pictures(), None, 1))
            must(self.home, "fit", "-c", config, "--trainer.default_root_dir", whole)
        shutil.copytree(whole, self.run)
        return self

    def call(self, *words: object) -> tuple[int | str, str]:
        """Call the command line here; what is marked executed is refused.

        Raises:
            AssertionError: code was executed, or the answer is more than a line.

        """
        code, said = called(self.home, [str(word) for word in words])
        self.untouched()
        if code and (not isinstance(code, int) or "Traceback" in said):
            raise AssertionError(f"{words}: {code}: {said[-800:]}")
        return code, said.strip().splitlines()[-1] if said.strip() else ""

    def untouched(self) -> None:
        """Refuse a mark.

        Raises:
            AssertionError: there is one.

        """
        if list(self.home.rglob("executed*")):
            raise AssertionError("code was executed")


def must(home: Path, *words: object) -> None:
    """Call the command line.

    Raises:
        RuntimeError: it failed.

    """
    code, said = called(home, [str(word) for word in words])
    if code:
        raise RuntimeError(f"{words}: {code}: {said[-800:]}")


def payloads_work(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Show that the payload leaves its mark where somebody unpickles it, or nothing below would say anything.

    Raises:
        AssertionError: it does not.

    """
    place = Place(setting, "control")
    pickle.loads(pickle.dumps(Payload(place.mark)))
    if not place.mark.exists():
        raise AssertionError("the payload does nothing")
    return {"answer": "unpickled by hand, it leaves its mark"}


def checkpoint(setting: Setting, verb: str, clock: Clock, before: Answer) -> Answer:
    """Put a checkpoint with a payload into a run, as torch saves and as a plain pickle, and call a verb."""
    said = ""
    for plain in (False, True):
        place = Place(setting, f"checkpoint-{verb}-{plain}").trained()
        file = place.run / "checkpoints" / "last.ckpt"
        content = torch.load(file, weights_only=True) | {"payload": Payload(place.mark)}
        if plain:
            file.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, file)
        code, said = place.call(verb, place.run, *VERBS[verb])
        if (code == 0) != (verb in NO_MARKUP):
            raise AssertionError(f"exit code {code}: {said}")
    return {"answer": shortened(said, setting)}


def class_names(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Let a checkpoint's hyper-parameters name a class of a module that leaves a mark when it is imported."""
    place = Place(setting, "class-names").trained()
    (place.home / "evil.py").write_text(f"open({str(place.mark)!r}, 'w').close()\nclass Evil: pass\n")
    file, evil = place.run / "checkpoints" / "last.ckpt", {"class_path": "evil.Evil"}
    content = torch.load(file, weights_only=True)
    content["hyper_parameters"] = {"backbone": evil, "tasks": {"other": evil}, "seed": 7}
    torch.save(content | {"datamodule_hyper_parameters": {"_class_path": "evil.Evil"}}, file)
    for verb, more in VERBS.items():
        code, said = place.call(verb, place.run, *more)
        if code:
            raise AssertionError(f"{verb}: {said}")
    return {"answer": f"not read by {', '.join(VERBS)}"}


def weights(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Give a probe the state dict of another project, with a payload in it."""
    place = Place(setting, "weights")
    data = ["--data", "datamodules.ImageFolder", "--data.root", setting.pictures(), "--data.canvas", "32"]
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "args": Payload(place.mark)}, place.home / "evil.pth")
    spec = ["--backbone", "torchvision:resnet18", "--weights", "evil.pth"]
    code, said = place.call("probe", *spec, *data)
    if not code:
        raise AssertionError("it was taken")
    return {"answer": shortened(said, setting)}


def yaml_tags(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Put tags into every YAML that is read: a config, a suite, a run's own config."""
    place, said = Place(setting, "tags"), ""
    tags = [
        f"!!python/object/apply:os.system ['touch {place.mark}']",
        f"!!python/object/new:os.system ['touch {place.mark}']",
        "!!python/name:os.system",
        "!!python/module:os",
        f"!!python/object/apply:subprocess.check_output [['touch', '{place.mark}']]",
    ]
    (place.home / "run").mkdir()
    runs = [(verb, "run") for verb in ("fit", "validate", "report", "probe")]
    for tag in setting.size(tags, tags[:1]):
        (place.home / "evil.yaml").write_text(f"model: {tag}\ndata: {tag}\n")
        shutil.copy(place.home / "evil.yaml", place.home / "run" / "config.yaml")
        for words in [
            *((verb, "-c", "evil.yaml") for verb in ("fit", "evolve", "show")),
            ("bench", "evil.yaml"),
            *runs,
        ]:
            code, line = place.call(*words)
            if not code and words[0] != "report":
                raise AssertionError(f"{words} took {tag}")
            said = line if words[0] == "fit" else said
    return {"answer": shortened(said, setting)}


def features(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Replace what is kept of features by arrays of objects that hold a payload, and by paths that lead elsewhere."""
    place = Place(setting, "features").trained()
    probe = ("probe", place.run, "--protocols", "knn")
    must(place.home, *probe)
    markers = sorted(place.run.rglob("complete.json"))
    if not markers:
        raise AssertionError("nothing is kept")
    evil = np.array([Payload(place.mark)], dtype=object)
    for marker in markers:
        for file in marker.parent.glob("*.npy"):
            np.save(file, evil, allow_pickle=True)
    _, said = place.call(*probe)
    np.save(place.home / "elsewhere.npy", evil, allow_pickle=True)
    for marker in markers:
        marker.write_text(json.dumps(dict.fromkeys(json.loads(marker.read_text()), str(place.home / "elsewhere.npy"))))
    place.call(*probe)
    return {"answer": shortened(said, setting)}


def canvases(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Flip bits in, and cut off, what is kept of decoded pictures; training must end well or say why not."""
    place, codes = Place(setting, "canvases"), []
    cache, chance = place.home / "cache", np.random.default_rng([setting.seed, 13])
    config = setting.write("hostile-cache", of_pictures(setting.pictures(), cache, 1))
    for k in range(12):
        code, said = place.call("fit", "-c", config, "--trainer.default_root_dir", place.home / f"run{k}")
        codes.append(code)
        if code:
            raise AssertionError(said)
        for file in [*cache.rglob("kept.index"), *cache.rglob("kept.data")]:
            data = bytearray(file.read_bytes())
            if k % 3 == 2:
                data = data[: int(chance.integers(0, len(data)))]
            for at in chance.integers(0, max(1, len(data)), 8).tolist() if data else []:
                data[at] ^= 1 << int(chance.integers(8))
            file.write_bytes(data)
    return {"answer": f"{len(codes)} trainings ended well"}


def study(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Write a payload where Optuna keeps the state of CMA-ES, let a candidate be drawn, and name evil classes."""
    place = Place(setting, "study")
    config = of_pictures(setting.pictures(), None, 1)
    config["evolve"] = {
        "candidates": 10,
        "steps": 1,
        "items": 20,
        "searcher": "cmaes",
        "population": 4,
        "fitness": {"class_path": "pretext.evaluation.fitness.EffectiveRank"},
    }
    config["model"]["tasks"]["split"] = {"class_path": "pretext.Contrast", "init_args": {"outputs": 4}}
    (place.home / "evil.py").write_text(f"open({str(place.mark)!r}, 'w').close()\nclass Evil: pass\n")
    command = ("evolve", "-c", setting.write("hostile-study", config), "--out", place.home / "study")
    must(place.home, *command)
    file = place.home / "study" / "study.db"
    with sqlite3.connect(file) as base:
        (last,) = base.execute("select max(trial_id) from trials").fetchone()
        payload = json.dumps(pickle.dumps(Payload(place.mark)).hex())
        for (trial,) in base.execute("select trial_id from trials").fetchall():
            base.execute(
                "insert into trial_system_attributes (trial_id, key, value_json) values (?, 'cma:optimizer:0', ?)",
                (trial, payload),
            )
        for name in ("trial_params", "trial_values"):
            base.execute(f"delete from {name} where trial_id = ?", (last,))
        base.execute("update trials set state = 'WAITING', datetime_complete = null where trial_id = ?", (last,))
    place.call(*command)
    with sqlite3.connect(file) as base:
        (drawn,) = base.execute("select count(*) from trial_params where trial_id = ?", (last,)).fetchone()
        if not drawn:
            raise AssertionError("no candidate was drawn anew")
        (settings,) = base.execute("select value_json from study_user_attributes where key = 'settings'").fetchone()
        evil = json.loads(settings)
        evil["evolve"]["fitness"] = {"class_path": "evil.Evil"}
        evil["model"]["backbone"] = {"class_path": "evil.Evil"}
        base.execute("update study_user_attributes set value_json = ? where key = 'settings'", (json.dumps(evil),))
    code, said = place.call(*command)
    if not code:
        raise AssertionError("a study of other settings was joined")
    return {"answer": f"a candidate drawn from plain numbers; then: {shortened(said, setting)}"}


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


def shortened(line: str, setting: Setting) -> str:
    """Leave the folder of the results out of a line."""
    return line.replace(str(setting.out), "")[:300]


def table(answers: dict[str, Answer]) -> list[str]:
    """Say what each was answered with."""
    lines = ["| what | answer | code executed |", "|---|---|---|"]
    for name, answer in answers.items():
        said = str(answer.get("answer", answer.get("error", ""))).replace("|", "\\|")
        ran = "no" if "answer" in answer else "see the answer"
        lines.append(f"| {name} | {said} | {ran if name != 'payloads work' else 'yes'} |")
    return lines
