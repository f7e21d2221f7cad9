"""`pretext fit`, `validate`, `test` and `predict`."""

from __future__ import annotations

import json
from pathlib import Path

from pretext.cli import classes
from pretext.cli.fit_help import help_of
from pretext.cli.preflight import parted, ready
from pretext.core.runs import LAST, find

HELP = ("-h", "--help")
LISTS = {"--data.help": "data", "--model.tasks.help": "tasks", "--model.backbone.help": "backbones"}


def main(args: list[str]) -> None:
    """Train, validate, test or predict."""
    if told := _helped(args):
        print(told, end="")
        return
    verb, *words = args
    if words and not words[0].startswith("-"):
        run = find(words[0])
        if verb != "fit" and not (run / LAST).is_file():
            raise FileNotFoundError(f"{run} has no checkpoint yet; train it first: pretext fit {run}")
    words = ready(words)
    from pretext.report.puzzles import paint
    from pretext.training.cli import PretextCLI

    made = PretextCLI([verb, *words], args, paint)
    if verb == "test" and made.trainer.is_global_zero:
        _show(made.run_dir / "score.json")


def _show(file: Path) -> None:
    """Print what a test across domains found, if it was one."""
    from pretext.report.adaptation import table

    found = table(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    if found is not None:
        from rich.console import Console

        Console().print(found.rich())


def _helped(args: list[str]) -> str | None:
    """Answer a question about options, if it is one; of classes that are not ours Lightning's parser answers."""
    verb, *words = args
    for option, value in parted(words):
        if option in HELP and value != "all":
            return f"{help_of(verb)}\n"
        if option in LISTS:
            kind = LISTS[option]
            mine = [one.name for one in classes.KINDS[kind][0]()]
            if value is None or value in mine or option == "--model.tasks.help":
                return classes.told_of(kind, value)
    return None
