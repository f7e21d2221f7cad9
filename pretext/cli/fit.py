"""`pretext fit`, `validate`, `test` and `predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pretext.cli import classes
from pretext.cli.fit_help import help_of
from pretext.cli.preflight import ready
from pretext.cli.words import parted
from pretext.core.runs import LAST, find

HELP = ("-h", "--help")
LISTS = {"--data.help": "data", "--model.tasks.help": "tasks", "--model.backbone.help": "backbones"}


def main(args: list[str]) -> None:
    """Train, validate, test or predict."""
    if told := _helped(args):
        print(told, end="")
        return
    verb, *words = args
    refuse_nothing(verb, words)
    run = find(words[0]) if not words[0].startswith("-") else None
    if run is not None and verb != "fit" and not (run / LAST).is_file():
        raise FileNotFoundError(f"{run} has no checkpoint yet; train it first: pretext fit {run}")
    words = ready(words, run)
    from pretext.report.puzzles import paint
    from pretext.training.cli import PretextCLI

    made = PretextCLI([verb, *words], args, paint)
    if verb == "test" and made.trainer.is_global_zero:
        _show(made.run_dir / "score.json")


def refuse_nothing(verb: str, words: Sequence[str]) -> None:
    """Refuse a call that names neither a run nor a config, nor a model by options.

    Raises:
        ValueError: it is one.

    """
    enough = ("-c", "--config", *HELP, "--print_config")
    named = any(option.startswith(("--model", *LISTS)) or option in enough for option, _ in parted(words))
    if named or (words and not words[0].startswith("-")):
        return
    if verb in ("fit", "nas search"):
        raise ValueError(
            f"give a config, pretext {verb} -c CONFIG, or a run to go on with, pretext {verb} RUN; `pretext configs` "
            "lists our configs, `pretext runs` the runs here"
        )
    raise ValueError(f"give a run before any option: pretext {verb} RUN; `pretext runs` lists those here")


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
