"""What is told before anything slow is imported: files and folders that are missing, names that are misspelt."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pretext._moved import NEW
from pretext.core import catalogue
from pretext.core.configs import with_files

CLASS = re.compile(r"(pretext|datamodules)((?:\.[a-z_]\w*)*)\.([A-Z]\w*)")
OWN = ("--trainer", "--data", "--model", "--checkpoint", "--stagnation")
KINDS = {"model.tasks": ("task", catalogue.tasks), "model.backbone": ("backbone", catalogue.backbones)}


def ready(words: Sequence[str]) -> list[str]:
    """Check the words of a verb that takes a config, and write files where packaged configs are named.

    Raises:
        FileNotFoundError: a config or the folder of the data is not there.
        ValueError: a config is no config of training, or a name is misspelt.

    """
    words = with_files(words)
    files = [Path(value) for option, value in parted(words) if option in ("-c", "--config") and value]
    configs = [plain(file) for file in files]
    if files and not any("model" in config for config in configs):
        raise ValueError(not_training(files[-1], configs[-1]))
    for path, value in (item for config in configs for item in _leaves(config)):
        if path.endswith("class_path"):
            check_class(str(value))
    added = {option.split(".")[2] for option, _ in parted(words) if re.fullmatch(r"--model\.tasks\.\w+", option)}
    for option, value in parted(words):
        _check_option(option, value, configs, added)
    _check_root(words, configs)
    return words


def plain(file: Path) -> dict[str, Any]:
    """Read a config without resolving anything in it; the real reader tells what is broken.

    Raises:
        ValueError: it is no text.

    """
    from yaml import YAMLError, safe_load

    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is no YAML of plain data, since it is no text; `pretext configs` lists ours"
        ) from error
    except YAMLError:
        return {"model": {}}
    return content if isinstance(content, dict) else {}


def not_training(file: Path, config: Mapping[str, Any]) -> str:
    """Say what to do with a file that is no config of training."""
    if "boards" in config:
        return f"{file} is a benchmark: pretext bench {file}"
    if "network" in config and "tasks" in config:
        return f"{file} is a suite of tasks to predict: pretext transfer predict {file}"
    if "class_path" in config:
        return f"{file} describes data; give it to --data, beside a config of training: -c CONFIG --data {file}"
    return f"{file} is no config of training: it has no `model`. `pretext configs` lists ours"


def parted(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Part words into options and their values, if they have one."""
    place = 0
    while place < len(words):
        option, joined, value = words[place].partition("=")
        rest = words[place + 1 : place + 2]
        place += 1
        if not option.startswith("-"):
            continue
        if joined:
            yield option, value
        elif rest and not rest[0].startswith("--"):
            yield option, rest[0]
            place += 1
        else:
            yield option, None


def check_class(path: str) -> None:
    """Refuse a path to a class of ours that is not there, and say which may have been meant.

    Raises:
        ValueError: there is none.

    """
    found = CLASS.fullmatch(path)
    if found is None or (found[1] == "pretext" and _is_old(found[2].removeprefix("."))):
        return
    module, name = found[1] + found[2], found[3]
    inside = catalogue.names_in(module)
    if inside is None or name in inside:
        _check_place(found[1])
        return
    raise ValueError(f"there is no class {path}; {_meant(name, module, inside)}{_hidden(found[1])}")


def _is_old(module: str) -> bool:
    """Tell a module's path of release 0.1, which still works, or a package that held some."""
    return module in NEW or any(old.startswith(f"{module}.") for old in NEW if module)


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
    public = {n: f"{package}.{n}" for package in ("pretext", "datamodules") for n in catalogue.public(package)}
    lists = "`pretext tasks`, `pretext data` and `pretext backbones` list ours"
    if name in public:
        return f"did you mean {public[name]}? {lists}"
    near = {n: f"{module}.{n}" for n in inside if n[0].isupper()} | public
    like = get_close_matches(name, near, n=1)
    return f"did you mean {near[like[0]]}? {lists}" if like else lists


def _hidden(package: str) -> str:
    """Name a folder of the user's that has the name of one of our packages, and is hidden by it."""
    ours = (catalogue.PACKAGE if package == "pretext" else catalogue.DATA).resolve()
    for folder in map(Path, dict.fromkeys([str(Path.cwd()), *sys.path])):
        other = (folder / package).resolve()
        if other.is_dir() and other != ours:
            return f". Your {other} has the same name as {ours}, which is the one in use: give your folder another name"
    return ""


def _check_option(option: str, value: str | None, configs: Sequence[Mapping[str, Any]], added: Collection[str]) -> None:
    """Refuse an option of the trainer that there is not (no abbreviation is taken), and a misspelt class or task.

    `added`: tasks that the command line adds to those of the configs.
    """
    first, *rest = option.removeprefix("--").split(".")
    if first == "trainer" and rest and (names := catalogue.trainer_options()):
        name = rest[0].rstrip("+")
        if name not in names:
            raise ValueError(f"unknown option --trainer.{name}{_like(name, names, '--trainer.')}")
    if value is not None and option.startswith(OWN):
        check_class(value)
        _check_bare(option.removeprefix("--"), value)
    tasks = [name for config in configs for name in _tasks(config)]
    inside = [first, *rest[:1]] == ["model", "tasks"] and len(rest) > 2 and rest[2] != "class_path"
    if inside and tasks and rest[1] not in {*tasks, *added}:
        raise ValueError(f"the config has no task {rest[1]}, but {', '.join(tasks)}{_like(rest[1], tasks, '')}")


def _check_bare(option: str, value: str) -> None:
    """Refuse the bare name of a task, such as Rotation, and say how it is written."""
    for start, (kind, known) in KINDS.items():
        inside = option.removeprefix(start).count(".") == (1 if kind == "task" else 0)
        if option.startswith(start) and inside and re.fullmatch(r"[A-Z]\w*", value):
            names = [one.name.removeprefix("pretext.") for one in known()]
            like = get_close_matches(value, names, n=1)
            said = f"; did you mean pretext.{like[0]}?" if like else ""
            raise ValueError(f"--{option} {value}: a {kind} is named by its class path{said} See `pretext {kind}s`")


def _like(name: str, names: Sequence[str], mark: str) -> str:
    like = get_close_matches(name, names, n=1)
    return f"; did you mean {mark}{like[0]}?" if like else ""


def _tasks(config: Mapping[str, Any]) -> list[str]:
    model = config.get("model")
    tasks = model.get("tasks") if isinstance(model, dict) else None
    return list(tasks) if isinstance(tasks, dict) else []


def _check_root(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a folder of data that is not there; only for classes of ours that can do nothing without it."""
    named = [config["data"] for config in configs if isinstance(config.get("data"), dict)]
    data: Mapping[str, Any] = named[-1] if named else {}
    path, given = str(data.get("class_path", "")), dict(data.get("init_args") or {})
    chosen, root = given.get("root"), None
    for option, value in parted(words):
        if option == "--data" and value is not None:
            path, chosen = (value, chosen) if not Path(value).is_file() else _of_file(Path(value))
        if option in ("--data.root", "--data.init_args.root"):
            root = value
    takes = {option.name: option.default for one in catalogue.data() if one.name == path for option in one.options}
    if takes.get("root", "") is not None or "download" in takes:
        return
    if root is None and (not isinstance(chosen, str) or "${" in chosen):
        if chosen is None:
            raise FileNotFoundError(f"{path} needs the folder of its data: add --data.root DIR")
        return
    if root is None and not Path(str(chosen)).expanduser().exists():
        raise FileNotFoundError(f"the config's folder of data, {chosen}, is not here: add --data.root DIR")
    if root is not None and not Path(root).expanduser().exists():
        raise FileNotFoundError(f"--data.root {root}: there is no such folder")


def _of_file(file: Path) -> tuple[str, Any]:
    content = plain(file)
    return str(content.get("class_path", "")), (content.get("init_args") or {}).get("root")


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Go through the values of a config with their paths."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, path)
    else:
        yield path, tree
