"""`pretext tasks`, `pretext data` and `pretext backbones`: list the classes that a config can name."""

from __future__ import annotations

from difflib import get_close_matches

from pretext.cli.listing import first, listed, told
from pretext.cli.parser import Parser, run_of
from pretext.core import catalogue
from pretext.core.catalogue import Class, Option
from pretext.core.configs import PACKAGED, header, result, users

KINDS = {
    "tasks": (catalogue.tasks, "pretext fit -c image/rotation --model.tasks.NAME pretext.Jigsaw"),
    "data": (catalogue.data, "pretext fit -c image/rotation --data datamodules.Photos --data.root DIR"),
    "backbones": (catalogue.backbones, "pretext fit -c image/rotation --model.backbone pretext.NIN"),
}
NEEDS = {
    "image": "images",
    "video": "clips (some: sound, frames)",
    "multimodal": "several modalities of clips",
    "adapters": "another task",
}


def main(args: list[str]) -> None:
    """List the classes of this kind that a config can name; with the name of one, its options."""
    verb = args[0]
    name, rest = run_of(args)
    Parser(verb, "[NAME]", main.__doc__).parse_args(rest)
    print(told_of(verb, name), end="")


def told_of(kind: str, name: str | None) -> str:
    """List the classes of a kind, or describe one and its options.

    Raises:
        ValueError: there is none of that name.

    """
    known, example = KINDS[kind]
    if name is None:
        return listed(rows(kind), f"one's options: pretext {kind} NAME; use: {example}")
    short = name.rpartition(".")[2]
    found = [one for one in known() if one.name.rpartition(".")[2].lower() == short.lower()]
    if not found:
        like = get_close_matches(short, [one.name.rpartition(".")[2] for one in known()], n=1)
        guess = f"did you mean {like[0]}? " if like else ""
        raise ValueError(f"there is no {name} among our {kind}; {guess}`pretext {kind}` lists them")
    lines = [found[0].name, found[0].about, found[0].paper, *(line(option, "  ") for option in found[0].options)]
    return "".join(f"{one}\n" for one in lines if one)


def rows(verb: str) -> list[tuple[str, str]]:
    """Describe each class of a kind in a line."""
    return [(one.name, _about(verb, one)) for one in KINDS[verb][0]()]


def line(option: Option, before: str) -> str:
    """Describe an option in a line."""
    given = "must be given" if option.default is None else f"default {option.default}"
    return f"{before}{option.name}  {option.about} ({given})"


def _about(verb: str, one: Class) -> str:
    if verb == "tasks":
        others = ("nas/", "adaptation/")  # what a search or a bridge reaches tells little of a task
        trained = [name for name in users(one.name) if not name.startswith(others)]
        configs = [name for name in trained if header(PACKAGED / f"{name}.yaml").facts.get("Result")]
        measured = f"{configs[0]}: {first(result(header(PACKAGED / f'{configs[0]}.yaml')))}" if configs else ""
        return told(one.question, f"needs {NEEDS[one.folder]}", one.paper, measured)
    if verb == "data":
        given = [f"--data.{option.name}" for option in one.options if option.default is None]
        where = ", ".join(f"{name} DIR" if name == "--data.root" else name for name in given)
        return told(one.about, f"needs {where or 'nothing'}")
    return told(one.about, one.paper)
