"""Other data than a run was trained on: it starts from its own defaults, and says which of its options are not."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pretext.training.loaders import built_of
from pretext.training.options import data_of, named_data
from pretext.training.renamed import current, resolved_class

PACKAGED = ("configs", "pretext/configs")
"""Where data configs stand beside this package, in a checkout and in a wheel."""


def with_own_data(config: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Return a config in which data that `options` name (--data X) starts from its own defaults.

    Of the options of the data before only those stay that belong to the network and not to the data: what of an item
    it is shown (a data module's `shown`, such as "canvas"). What `options` say of the data is put in already: a class
    without what it needs would be refused. Without `--data X` the config stays as it is.
    """
    named, data = named_data(options), config.get("data")
    if named is None or not isinstance(data, Mapping):
        return dict(config)
    new = resolved_class(named)
    before = current({"data": data})["data"]
    old = resolved_class(str(before.get("class_path")))
    if new is None:
        return {**config, "data": None}
    both = [path for path in getattr(new, "shown", ()) if path in getattr(old, "shown", ())]
    kept: dict[str, Any] = {}
    for path in both:
        _put(kept, path.split("."), before.get("init_args") or {})
    return {**config, "data": data_of(options, {"class_path": named, "init_args": kept})}


def _put(kept: dict[str, Any], path: Sequence[str], options: Mapping[str, Any]) -> None:
    """Take one option over, if it is given."""
    first, *rest = path
    if first in options and not rest:
        kept[first] = options[first]
    elif isinstance(inside := options.get(first), Mapping):
        _put(kept.setdefault(first, {}), rest, inside)


def options_of(data: object) -> dict[str, Any]:
    """List the options of a data module that are not its defaults, groups as `split.limit`; not the seed of its order.

    Of a class that does not note what it was built with (`built_with`) nothing is known.
    """
    given = built_of(data)
    if given is None:
        return {}
    signature = inspect.signature(given.func)
    bound = signature.bind_partial(*given.args, **given.keywords).arguments
    defaults = {name: taken.default for name, taken in signature.parameters.items()}
    every = (pair for name, value in bound.items() if name != "seed" for pair in _others(name, value, defaults[name]))
    return dict(every)


def _others(name: str, value: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """Yield what of an option is not as by default."""
    if is_dataclass(value) and type(value) is type(default):
        for field in fields(value):
            yield from _others(f"{name}.{field.name}", getattr(value, field.name), getattr(default, field.name))
    elif _plain(value) != _plain(default):
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if hasattr(value, "built_with"):  # such as the data that episodes are made of
        return type(value).__name__
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def hint_of_config(options: Sequence[str]) -> None:
    """Say which packaged config of data describes the folder that `options` name, where they name a class alone."""
    words = dict(_pairs(options))
    named, root = words.get("--data"), words.get("--data.root")
    if named is None or root is None or named.endswith((".yaml", ".yml")):
        return
    for file in packaged():
        if fits(file, named, Path(root).expanduser()):
            place = os.path.relpath(file)
            print(f"pretext: {file.name} describes such a folder: --data {place} --data.root {root}", file=sys.stderr)


def fits(config: Path, class_path: str, root: Path) -> bool:
    """Tell whether a config of data describes a folder: of the same class, and called as it, or with all its lists."""
    plain = yaml.safe_load(config.read_text(encoding="utf-8"))
    args = plain.get("init_args") or {}
    lists = [file for key, file in (args.get("lists") or {}).items() if key.endswith("_list") and file]
    same = plain.get("class_path", "").rpartition(".")[2] == class_path.rpartition(".")[2]
    return same and (root.name == config.stem or (bool(lists) and all((root / file).is_file() for file in lists)))


@cache
def packaged() -> tuple[Path, ...]:
    """List the packaged configs of data."""
    home = Path(__file__).parents[2]
    return tuple(file for place in PACKAGED for file in sorted((home / place / "data").glob("*.yaml")))


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pair options with their values."""
    for place, word in enumerate(options):
        name, joined, value = word.partition("=")
        if joined:
            yield name, value
        elif place + 1 < len(options):
            yield word, options[place + 1]
