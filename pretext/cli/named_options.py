"""Options that are misspelt, and what was meant, before anything slow is imported: read from the classes' sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pretext.core import catalogue
from pretext.core.catalogue import PACKAGE, Class
from pretext.training.old_tasks import RULES  # which imports nothing

SECTIONS = ("model", "data", "trainer", "checkpoint", "stagnation", "evolve", "nas")
STARTS = {  # sections whose class is known without being named
    "model": ("training/pretrainer.py", "Pretrainer"),
    "checkpoint": ("training/callbacks/checkpoint.py", "Checkpoint"),
    "stagnation": ("training/callbacks/stagnation.py", "Stagnation"),
}
PARTS = ("class_path", "init_args", "dict_kwargs", "help")
LISTS = {"tasks": catalogue.tasks, "data": catalogue.data, "backbones": catalogue.backbones}


def check_option(path: str, tree: Mapping[str, Any], mark: str = "--") -> None:
    """Refuse an option that its class does not take, where that is a class of ours.

    Args:
        path: such as data.root, or model.tasks.turn.turns.
        tree: all that configs and options say, so of which classes they are.
        mark: what stands before it where it was written.

    Raises:
        ValueError: there is no such option.

    """
    first, *rest = [name for name in path.rstrip("+").split(".") if name != "init_args"]
    if first not in SECTIONS:
        if rest and (like := get_close_matches(first, SECTIONS, n=1)):
            raise ValueError(f"unknown option {mark}{path}; did you mean {mark}{'.'.join([like[0], *rest])}?")
        return
    node, before = tree.get(first), [first]
    described = _class_of(node) if _path_of(node) else _started(first)
    while rest and described is not None and rest[0] not in PARTS:
        name, *rest = rest
        kinds = {option.name: option.kind for option in described.options}
        if name not in kinds:
            if not _is_old(described, name):
                raise ValueError(_refusal(described, name, before, mark))
            return
        node, before = _inside(node, name), [*before, name]
        if kinds[name].startswith(("dict[str, TaskFactory", "dict[str, Backbone")):
            if not rest:
                return
            node, before, rest = _inside(node, rest[0]), [*before, rest[0]], rest[1:]
        described = _class_of(node) if _path_of(node) else _group(kinds[name])


def _refusal(described: Class, name: str, before: Sequence[str], mark: str) -> str:
    """Say that a class takes no such option, which it may mean, and where its options are listed."""
    like = get_close_matches(name, [option.name for option in described.options], n=1)
    place = ".".join(before)
    guess = f"; did you mean {mark}{place}.{like[0]}?" if like else "."
    short = described.name.rpartition(".")[2]
    lists = next((kind for kind, known in LISTS.items() if described.name in {one.name for one in known()}), None)
    where = f"`pretext {lists} {short}` lists them" if lists else "`pretext fit --help` lists them"
    return f"{mark}{place}.{name}: Option {name!r} is not accepted by {described.name}{guess} {where}"


def _path_of(node: Any) -> str:
    """Return the class path that stands at a place, if there is one."""
    named = node.get("class_path") if isinstance(node, Mapping) else node
    return named if isinstance(named, str) else ""


def _class_of(node: Any) -> Class | None:
    """Describe the class that stands at a place; None where it is not ours, or takes what another class takes."""
    path = _path_of(node)
    package, _, name = path.rpartition(".")
    if not re.fullmatch(r"pretext|datamodules", package):
        return None
    known = catalogue.public(package).get(name)
    if known is None or not known.is_file() or not catalogue.defines(known, name):
        return None
    described = catalogue.described(known, name, path)
    return described if described.options else None


def _started(section: str) -> Class | None:
    if section not in STARTS:
        return None
    file, name = STARTS[section]
    return catalogue.described(PACKAGE / file, name)


def _inside(node: Any, name: str) -> Any:
    """Return what stands below a place of a config, as an option or among a class's arguments."""
    if not isinstance(node, Mapping):
        return None
    args = node.get("init_args")
    return node.get(name, args.get(name) if isinstance(args, Mapping) else None)


def _group(kind: str) -> Class | None:
    """Describe a group of options by its name; None for what is none."""
    found = re.fullmatch(r"(\w+)(?: \| None)?", kind)
    return catalogue.group(found[1]) if found else None


def _is_old(described: Class, name: str) -> bool:
    """Tell an option of release 0.1, which is translated: of a task that renamed it, or in a group of options now."""
    rule = RULES.get(described.name.rpartition(".")[2])
    if rule is not None and rule({name: None}) != {name: None}:
        return True
    groups = [group for option in described.options if (group := _group(option.kind)) is not None]
    return any(name in {option.name for option in group.options} for group in groups)
