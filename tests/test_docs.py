"""The site: its commands and snippets work as they stand there, and its pages ask nobody for anything."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from pretext.__main__ import VERBS, main
from pretext.cli import preflight

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TOLD = [ROOT / "README.md", *(page for page in PAGES if page.name != "decisions.md")]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    ((?:pretext|srun pretext) .*)$", re.MULTILINE)
PUT = re.compile(r"Put this into `([\w.]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
CHECKED = ("fit", "show", "audit", "evolve")  # whose options `preflight.ready` knows
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
    fenced = [line for kind, block in FENCED.findall(text) if kind in ("bash", "text") for line in block.splitlines()]
    lines = [line.removeprefix("srun ") for line in [*fenced, *INDENTED.findall(FENCED.sub("", text))]]
    split = [shlex.split(line, comments=True) for line in lines if line.startswith("pretext ")]
    return [words[1:] for words in split if words[1:2] != ["VERB"]]


@pytest.mark.parametrize("page", [page for page in TOLD if commands(page)], ids=lambda page: page.stem)
def test_every_command_has_a_verb_a_config_and_options_that_there_are(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "a.jpg").touch()
    for verb, *words in commands(page):
        assert verb in VERBS, (verb, words)
        known = dict.fromkeys(("DIR", "VIDEOS", "SOUNDS"), tmp_path) | {
            "CONFIG": "image/rotation" if "DIR" in words else "image/digits"
        }
        words = [str(known.get(word, word)) for word in words]
        made = any(word.startswith(("mirror.", "swapped.", "runs/")) for word in words)  # by what stands before it
        if verb in CHECKED and "-c" in words and not made:
            preflight.ready(words)


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
