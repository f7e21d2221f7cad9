"""The site: its commands and snippets work as they stand there, and its pages ask nobody for anything."""

import re
import shlex
import subprocess
import sys
import textwrap
from contextlib import redirect_stdout, suppress
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from pretext.__main__ import VERBS, main
from pretext.cli import preflight
from pretext.cli.words import parted
from pretext.core.configs import PACKAGED, find_config, header, names, packaged_config
from pretext.evaluation.names import EVERY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TOLD = [ROOT / "README.md", *(page for page in PAGES if page.name != "decisions.md")]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r" *(?:(?:srun|torchrun .*-m|\w+=\S+) |ExecStart=\S*/bin/)?pretext (?=[a-z])(.*)")
LISTED = re.compile(r" *command: \[pretext, (.*)\]")
NUMBERED = re.compile(r"runs/([a-z_/]+)/\d+\b")
PUT = re.compile(r"Put this into `([\w.]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
TAKE_DATA = (
    "fit",
    "validate",
    "test",
    "predict",
    "show",
    "audit",
    "evolve",
    "probe",
    "cluster",
    "nas sample",
    "nas search",
)
SECTIONS = {"--data", "--model", "--trainer", "--checkpoint", "--stagnation", "--seed_everything"}
SMALL = {  # what a test adds, so that it ends: a later option wins
    "fit": ("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu"),
    "probe": ("--dims", "16", "--protocols", "linear"),
    "audit": ("--budget", "1"),
}


def blocks(page):
    return FENCED.findall(page.read_text())


def commands(page):
    """Return the commands of a page, each as words: of its fences, and of indented lines."""
    text = re.sub(r"\\\n *", "", page.read_text())
    fenced = [line for kind, block in FENCED.findall(text) if kind != "python" for line in block.splitlines()]
    lines = [*fenced, *(line for line in FENCED.sub("", text).splitlines() if line.startswith("    "))]
    found = [
        shlex.split(told[1].replace("[", "").replace("]", ""), comments=True)
        for told in map(COMMAND.match, lines)
        if told
    ]
    return [*found, *(told[1].split(", ") for told in map(LISTED.match, lines) if told)]


@cache
def options_of(verb):
    """Name the options that a verb's help tells of; those of a config's parts are `SECTIONS`."""
    told = StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        main([*verb.split(), "--help"])
    named = {f"--{word}" for word in re.findall(r"--([a-z][\w-]*)", told.getvalue())} | {"-c", "--help"}
    return named | (SECTIONS if verb in TAKE_DATA or verb == "reproduce" else set())


@pytest.mark.parametrize("page", [page for page in TOLD if commands(page)], ids=lambda page: page.stem)
def test_every_command_has_a_verb_a_config_and_options_that_there_are(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(preflight, "LOGGERS", {})  # whose libraries need not be here
    (tmp_path / "a.jpg").touch()
    runs = {}
    for name in ("image/rotation", "adaptation/dann"):
        runs[name] = tmp_path / name
        runs[name].mkdir(parents=True)
        text = find_config(name).read_text().replace("root: images", f"root: {tmp_path}")
        (runs[name] / "config.yaml").write_text(text)
    for verb, *words in commands(page):
        assert verb in VERBS, (verb, words)
        known = dict.fromkeys(("DIR", "VIDEOS", "SOUNDS"), tmp_path) | {
            "CONFIG": "image/rotation" if "DIR" in words else "image/digits"
        }
        words = [str(known.get(word, word)) for word in words]
        sub = words[0] if verb in ("nas", "transfer") and words[0].isalpha() and words[0].islower() else ""
        named = f"{verb} {sub}".strip()
        for option, _ in parted(words):
            assert option.partition(".")[0].rstrip("+") in options_of(named), (page.name, verb, words, option)
        for name in (found for word in words for found in NUMBERED.findall(word)):
            assert packaged_config(name), f"{page.name}: `pretext fit` calls no run runs/{name}"
        made = any(word.startswith(("mirror.", "swapped.", "runs/")) for word in words)  # by what stands before it
        if named in TAKE_DATA and not made:
            of_run = bool(words[len(sub.split()) :]) and words[len(sub.split())] == "RUN"
            run = runs["adaptation/dann" if "--model.beside" in " ".join(words) else "image/rotation"]
            preflight.ready(words, run if of_run else None)


def test_commands_are_found_wherever_they_stand():
    found = {page.stem: [words[:2] for words in commands(page)] for page in TOLD}
    assert ["fit", "-c"] in found["preemption"]  # of a script, a list of Kubernetes and a unit of systemd
    assert found["preemption"].count(["fit", "-c"]) >= 3
    assert ["probe", "RUN"] in found["devices"]  # of torchrun
    assert ["nas", "search"] in found["architectures"]
    assert ["transfer", "predict"] in found["README"]  # behind a variable


def test_headers_name_the_runs_that_their_commands_make():
    for name in names():
        told = header(PACKAGED / f"{name}.yaml")
        for run in NUMBERED.findall(" ".join(told.facts.values())):
            assert packaged_config(run), f"{name}: `pretext fit` calls no run runs/{run}"


def test_the_python_of_several_devices_runs_on_one():
    (block,) = re.findall(
        r"(?:^    (?:from|import) pretext.*\n)(?:^(?:    .*)?\n)*", (DOCS / "devices.md").read_text(), re.MULTILINE
    )
    given = {name: torch.arange(6.0).reshape(3, 2) for name in ("one", "two", "prediction", "x")}
    given |= {"torch": torch, "answer": torch.arange(3), "missed": torch.tensor(2.0), "weight": torch.tensor(3.0)}
    exec(textwrap.dedent(block), given)
    assert torch.equal(given["one"], torch.arange(6.0).reshape(3, 2))
    assert (float(given["missed"]), float(given["weight"])) == (2.0, 3.0)
    assert given["answer"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("page", [DOCS / "evaluation.md"], ids=lambda page: page.stem)
def test_python_that_needs_nothing_before_it_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for kind, block in blocks(page):
        if kind == "python":
            exec(block, {})
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {words[0] for words in told} >= {"raw"}
    assert all(float(low) <= float(value) <= float(high) for *_, value, low, high in told)


def test_a_policy_is_found_as_the_page_says(tmp_path, monkeypatch, capsys):
    name, content = PUT.search((DOCS / "transfer.md").read_text()).groups()
    (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    assert main(["transfer", "policy", name, "--budget", "2"]) == 0
    told = capsys.readouterr().out
    assert "jigsaw" in told
    assert "colorization" in told or "rotation" in told


def test_every_protocol_and_every_evaluator_has_its_place():
    page = (DOCS / "evaluation.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(EVERY)
    assert [name for name in names() if name.startswith("evaluation/") and f"`{name}`" not in page] == []


class TestParts:
    @pytest.fixture(autouse=True)
    def at_hand(self, monkeypatch):
        monkeypatch.syspath_prepend(DOCS)

    def test_docstrings_keep_their_words_and_lose_their_markup(self):
        from extension.docstrings import rewritten

        lines = ["Sum |x|^2 of `a_` and b_.", "", "    loss = a * b", "", "Args:", "    a: any *kind*."]
        made = rewritten(lines)
        assert made[0] == r"Sum \|x\|^2 of ``a_`` and b\_."
        assert made[2:5] == ["::", "", "    loss = a * b"]
        assert made[-2:] == ["Args:", r"    a: any \*kind\*."]

    def test_links_lead_to_pages_copies_or_words(self):
        from extension.links import adapted

        assert adapted("[a](../README.md#x) `[b](c)` [d](https://e)", DOCS) == "[a](index.md#x) `[b](c)` [d](https://e)"
        assert adapted("![p](tasks.png) [s](small.yaml)", ROOT / "benchmarks") == (
            "![p](../benchmarks/tasks.png) [s](../benchmarks/small.yaml)"
        )
        assert adapted("[c](configs/image)", ROOT) == "c"

    def test_every_page_that_is_marked_gets_its_part_and_every_verb_has_a_section(self):
        from extension import generated

        marks = {mark for page in PAGES for mark in generated.MARK.findall(page.read_text())}
        assert marks == set(generated.PARTS)
        assert "usage: pretext runs" in generated.help_of(["runs"])
        made = generated.tasks()
        assert "### Rotation" in made
        assert "| `turns` | `'all'` |" in made
        assert generated.picture_of(next(one for one in generated.catalogue.tasks() if one.name == "pretext.Rotation"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(k == "bash" for k, _ in blocks(p))], ids=lambda p: p.stem)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, content in PUT.findall(page.read_text()):
        (tmp_path / name).write_text(content)
    for kind, block in blocks(page):
        if kind == "python":
            exec(block, {})
        elif kind == "bash":
            for line in block.splitlines():
                verb, *words = shlex.split(line, comments=True)[1:]
                assert main([verb, *words, *SMALL.get(verb, ())]) == 0, line


class Links(HTMLParser):
    """The links of a page, what it fetches, and the places in it that a link can name."""

    def __init__(self, file):
        super().__init__()
        self.links, self.fetched, self.places = [], [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.places |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        fetched = attrs.get("src") or (attrs.get("href") if tag == "link" else None)
        if fetched and not fetched.startswith(("data:", "#")):
            self.fetched.append(fetched)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_its_links_lead_somewhere_and_nothing_is_fetched(tmp_path):
    for needed in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(needed)
    out = tmp_path / "html"
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "doctrees", DOCS, out]
    ended = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-3000:]
    pages = {file: Links(file) for file in out.glob("*.html")}
    assert {"index.html", "tasks.html", "api.html", "command-line.html"} <= {file.name for file in pages}
    for file, page in pages.items():
        for target in page.fetched:
            assert not re.match(r"(\w+:)?//", target), (file.name, target)
            assert (out / unquote(target).partition("?")[0]).is_file(), (file.name, target)
        for target in page.links:
            if re.match(r"\w+:", target):
                continue
            name, _, place = unquote(target).partition("#")
            there = (file.parent / name).resolve() if name else file
            assert there.is_file(), (file.name, target)
            assert not place or there not in pages or place in pages[there].places, (file.name, target)
    for style in out.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(\w+:)?//", style.read_text()), style
