"""Wrong calls of the command line: each must be answered by one clear line and a failing exit code."""

from __future__ import annotations

import io
import os
import shlex
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from shutil import rmtree

from PIL import Image
from schedule import Answer, Clock, Part, Question

from fault_parts.samples import picture
from fault_parts.setting import Setting, of_films, of_pictures
from pretext.__main__ import main

ABOUT = "wrong calls of the command line"
FILE = Path(__file__).with_name("calls.txt")
SUITE = """
title: T
seeds: [0]
boards:
  b: {data: {data: datamodules.ImageFolder, data.root: pictures}, entries: {e: {config: config.yaml}}}
"""
LONGEST = 1000  # characters of an answer
SMALL = 6  # of all calls, so many are made in a small part


def part(setting: Setting) -> Part:
    """Make the part: every call is a question."""
    calls = wrong_calls()
    picked = setting.size(calls, calls[:: -(-len(calls) // SMALL)])
    asked = [Question(f"pretext {words}", partial(ask, setting, words, wanted)) for words, wanted in picked]
    return Part("calls", ABOUT, 1.0, lambda: asked, table)


def wrong_calls() -> list[tuple[str, str]]:
    """Read the list: each call, and words that its answer must hold."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [(call.strip(), wanted.strip()) for call, _, wanted in (line.partition("=>") for line in lines)]


def ask(setting: Setting, words: str, wanted: str, clock: Clock, before: Answer) -> Answer:
    """Make a call.

    Raises:
        AssertionError: it is not answered as it should be.

    """
    home = prepared(setting)
    code, answer = called(home, shlex.split(words))
    lines, verb = answer.strip().splitlines(), words.split()[0]
    mine = [line for line in lines if line.startswith(f"pretext {verb}: ")]
    wrong = [  # a training that has begun has said what it trains, in lines before
        *([] if isinstance(code, int) and 0 < code < 128 else [f"exit code {code}"]),
        *([] if len(mine) == 1 and mine == lines[-1:] else ["it does not end with one line of the verb's"]),
        *([] if wanted in answer else [f"no {wanted!r} in it"]),
        *([] if len(answer) <= LONGEST else [f"{len(answer)} characters"]),
    ]
    if wrong:
        raise AssertionError(f"{', '.join(wrong)}: {answer.strip()[-1500:]}")
    return {"answer": mine[0].replace(f"{home}/", ""), "exit code": code}


def called(home: Path, words: list[str]) -> tuple[int | str, str]:
    """Call the command line in this process; return its exit code and what it said to the standard error."""
    said = io.StringIO()
    with chdir(home), redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            code: int | str = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else str(end.code)
        except BaseException as error:  # a traceback, for whoever calls it as a command
            code = f"{type(error).__name__}: {error}"
    return code, said.getvalue()


def prepared(setting: Setting) -> Path:
    """Make the folder that the calls are made in, once.

    Raises:
        RuntimeError: a training that should work failed.

    """
    home = setting.out / "calls"
    if (home / "done").exists():
        return home
    rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name, target in (("pictures", setting.pictures()), ("films", setting.films(4))):
        (home / name).symlink_to(target)
    config = setting.write("calls", of_pictures(home / "pictures", None, epochs=1))
    (home / "config.yaml").write_text(config.read_text())
    (home / "films.yaml").write_text(setting.write("call-films", of_films(home / "films", None, 1)).read_text())
    for name, options in (("run", []), ("other", ["--model.backbone.init_args.width", "4"]), ("cut", [])):
        code, said = called(home, ["fit", "-c", "config.yaml", "--trainer.default_root_dir", name, *options])
        if code:
            raise RuntimeError(f"{name}: {said}")
    whole = home / "cut" / "checkpoints" / "last.ckpt"
    os.truncate(whole, whole.stat().st_size // 2)
    _small_files(home)
    (home / "done").touch()
    return home


def _small_files(home: Path) -> None:
    """Write what is no config, no data, and no run."""
    (home / "broken.yaml").write_text("model: {tasks: [\n")
    (home / "empty.yaml").write_text("")
    (home / "list.yaml").write_text("- 1\n- 2\n")
    (home / "python.yaml").write_text("model: !!python/object/apply:os.system ['touch executed']\n")
    (home / "suite.yaml").write_text(SUITE)
    search = "evolve: {steps: 1, items: 20, fitness: {class_path: pretext.evaluation.fitness.EffectiveRank}}\n"
    (home / "search.yaml").write_text((home / "config.yaml").read_text() + search)
    Image.fromarray(picture(0)).save(home / "picture.png")
    for name in ("odd", "empty", "bad/train/a"):
        (home / name).mkdir(parents=True)
    (home / "odd" / "note.txt").write_text("no run\n")
    for k in range(4):
        (home / "bad" / "train" / "a" / f"{k}.jpg").write_bytes(b"no picture")


def table(answers: dict[str, Answer]) -> list[str]:
    """Set each call beside its answer."""
    lines = ["| call | answer | exit code |", "|---|---|---|"]
    for call, answer in answers.items():
        said = answer.get("answer", answer.get("error", "")).replace("|", "\\|")
        lines.append(f"| `{call}` | {said} | {answer.get('exit code', '-')} |")
    good = sum("answer" in answer for answer in answers.values())
    return [f"{good} of {len(answers)} wrong calls were answered by one line and a failing exit code.", "", *lines]
