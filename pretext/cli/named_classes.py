"""Class paths that are misspelt, and what was meant, before anything slow is imported."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pretext._moved import NEW
from pretext.core import catalogue

CLASS = re.compile(r"(\w+)((?:\.[a-z_]\w*)*)\.([A-Z]\w*)")
OURS = ("pretext", "datamodules")
KINDS = {
    "model.tasks": ("task", catalogue.tasks),
    "model.backbone": ("backbone", catalogue.backbones),
    "data": ("data module", catalogue.data),
}
LISTS = "`pretext tasks`, `pretext data` and `pretext backbones` list ours"


def check_class(path: str) -> None:
    """Refuse a path to a class of ours that is not there, and say which may have been meant.

    Raises:
        ValueError: there is none.

    """
    found = CLASS.fullmatch(path)
    if found is None or (found[1] == "pretext" and _is_old(found[2].removeprefix("."))):
        return
    if found[1] not in OURS:
        _check_package(path, found[1], found[3])
        return
    module, name = found[1] + found[2], found[3]
    inside = catalogue.names_in(module)
    if inside is None or name in inside:
        _check_place(found[1])
        return
    raise ValueError(f"there is no class {path}; {_meant(name, module, inside)}{_hidden(found[1])}")


def check_bare(option: str, value: str) -> None:
    """Refuse the bare name of a task, a backbone, data or an optimiser, and say how it is written.

    Raises:
        ValueError: it is one.

    """
    if not re.fullmatch(r"[A-Z]\w*", value) or Path(value).exists():
        return
    for start, (kind, known) in KINDS.items():
        if option.startswith(start) and option.removeprefix(start).count(".") == (1 if kind == "task" else 0):
            names = {one.name.rpartition(".")[2]: one.name for one in known()}
            like = get_close_matches(value, names, n=1)
            said = f"; did you mean {names[like[0]]}?" if like else "."
            lists = "data" if kind == "data module" else f"{kind}s"
            raise ValueError(f"--{option} {value}: a {kind} is named by its class path{said} See `pretext {lists}`")
    if option == "model.optim.optimizer" and (names := catalogue.optimizers()) and value not in names:
        like = get_close_matches(value, names, n=1)
        said = f"; did you mean {names[like[0]]}?" if like else ", such as torch.optim.AdamW"
        raise ValueError(f"--{option} {value}: there is no such optimiser{said}")


def _is_old(module: str) -> bool:
    """Tell a module's path of release 0.1, which still works, or a package that held some."""
    gone = bool(module) and catalogue.names_in(f"pretext.{module}") is None
    return module in NEW or (gone and any(old.startswith(f"{module}.") for old in NEW))


def _check_package(path: str, package: str, name: str) -> None:
    """Refuse a package that is not there where its name is like that of one of ours."""
    like = get_close_matches(package, OURS, n=1, cutoff=0.75)
    if like and find_spec(package) is None:
        module = path.replace(package, like[0], 1).rpartition(".")[0]
        meant = _meant(name, module, catalogue.names_in(module) or [])
        raise ValueError(f"there is no package {package}, which {path} names; {meant}")


@cache
def _check_place(package: str) -> None:
    """Refuse to go on where Python finds another package by the name of one of ours.

    Raises:
        ValueError: it does.

    """
    ours = catalogue.PACKAGE if package == "pretext" else catalogue.DATA
    spec = find_spec(package)
    places = [] if spec is None else [Path(place).resolve() for place in spec.submodule_search_locations or ()]
    if places != [ours.resolve()]:
        where = ", ".join(map(str, places)) or "nowhere"
        raise ValueError(f"Python finds `{package}` in {where}, which hides ours, {ours}: give that another name")


def _meant(name: str, module: str, inside: Sequence[str]) -> str:
    """Guess what class was meant: the same name elsewhere, else a name like it."""
    public = {n: f"{package}.{n}" for package in OURS for n in catalogue.public(package)}
    if name in public:
        return f"did you mean {public[name]}? {LISTS}"
    near = {n: f"{module}.{n}" for n in inside if n[0].isupper()}
    for known in (near, public):  # first where it was looked for
        if like := get_close_matches(name, known, n=1):
            return f"did you mean {known[like[0]]}? {LISTS}"
    return LISTS


def _hidden(package: str) -> str:
    """Name a folder of the user's that has the name of one of our packages, and is hidden by it."""
    ours = (catalogue.PACKAGE if package == "pretext" else catalogue.DATA).resolve()
    for folder in map(Path, dict.fromkeys([str(Path.cwd()), *sys.path])):
        other = (folder / package).resolve()
        if other.is_dir() and other != ours:
            return f". Your {other} has the same name as {ours}, which is the one in use: give your folder another name"
    return ""
