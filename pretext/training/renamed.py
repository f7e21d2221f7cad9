"""Options and class paths by the names that they had in release 0.1, for configs, runs and command lines made then.

Options that belong together are grouped since: an option that a class does not take any more, but one group of its
options does, is moved into that group. What tasks rename beyond that stands in `pretext.training.old_tasks`. A config
of a user's is told of in one line for each option; what a program wrote (a run's own config) is translated silently.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, get_args, get_type_hints

import yaml

from pretext._moved import NEW
from pretext.training.old_tasks import RULES, as_then
from pretext.training.pretrainer import Pretrainer

OURS = re.compile(r"pretext(\.\w+)+")
PARTS = ("class_path", "init_args", "dict_kwargs")
"""Of what names a class in a config."""


class Hint(NamedTuple):
    """What was written, and what to write instead."""

    old: str
    new: str
    is_option: bool = True
    """Else it is a class path, or stands in a file."""
    source: str | None = None
    """Where it was written, if not where all the others were."""


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the names of today; one that has them already is returned as it is."""
    return translated(config)[0]


def translated(config: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[Hint]]:
    """Return a config, or a part of one, with the names of today, and what to write instead of old ones.

    `known`: a config that says of which classes the options are, where the part does not say it itself.
    """
    hints: list[Hint] = []
    around = known or {}
    parts = {
        str(key): _Node(hints, str(key)).translated(value, around.get(key), Pretrainer if key == "model" else None)
        for key, value in config.items()
    }
    return parts, hints


def moved(path: str) -> str:
    """Return where a class of ours is today, by the path that it had in release 0.1."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 1, -1):
        if parts[0] == "pretext" and (new := NEW.get(".".join(parts[1:end]))):
            return ".".join(("pretext", new, *parts[end:]))
    return path


def tell(hints: Iterable[Hint], source: str, mark: str = "") -> None:
    """Say on stderr what to write instead, in one line and once for each option; `mark` stands before an option."""
    for hint in hints:
        sign = mark if hint.is_option else ""
        _tell_once(f"{hint.source or source}: {sign}{hint.old} is now {sign}{hint.new}")


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr)


class _Node(NamedTuple):
    """A place in a config; what is translated there leaves its hints."""

    hints: list[Hint]
    path: str

    def translated(self, value: Any, known: Any, default: type | None = None) -> Any:
        """Translate what stands here; `default` is its class where none is named."""
        if isinstance(value, str):
            return self._moved(value)
        if isinstance(value, list):
            return [self._below(str(place)).translated(part, None) for place, part in enumerate(value)]
        if not isinstance(value, dict):
            return value
        known = {"class_path": known} if isinstance(known, str) else known if isinstance(known, dict) else {}
        name = value.get("class_path", known.get("class_path"))
        build = resolved_class(name) if isinstance(name, str) else default
        named = {key: part for key, part in value.items() if key in PARTS} if isinstance(name, str) else {}
        result = {key: self._below(key).translated(part, None) for key, part in named.items() if key != "init_args"}
        if isinstance(args := named.get("init_args"), dict):
            result["init_args"] = self._below("init_args")._arguments(args, known, build)
        elif "init_args" in named:
            result["init_args"] = args
        rest = {key: part for key, part in value.items() if key not in named}
        return result | self._arguments(rest, known, build)

    def _arguments(self, args: Mapping[str, Any], known: Mapping[str, Any], build: Any) -> dict[str, Any]:
        """Translate arguments of what `build` builds, if that is known."""
        args = self._ruled(args, build)
        taken = {} if build is None else parameters_of(build)
        around = {**known, **(known.get("init_args") or {})}
        result: dict[str, Any] = {}
        groups: dict[str, dict[str, Any]] = {}
        for key, value in args.items():
            group = None if key in taken else _group(taken, key)
            new = self._below(key).translated(value, around.get(key))
            if group is None:
                result[key] = new
            else:
                self.hints.append(Hint(f"{self.path}.{key}", f"{self.path}.{group}.{key}"))
                groups.setdefault(group, {})[key] = new
        return result | {group: options | (result.get(group) or {}) for group, options in groups.items()}

    def _ruled(self, args: Mapping[str, Any], build: Any) -> Mapping[str, Any]:
        """Apply the rule of a task that renamed its arguments, and let it ask what it asked where a run wrote them."""
        name = getattr(build, "__name__", "")
        rule: Callable[[dict[str, Any]], dict[str, Any]] | None = RULES.get(name)
        new = as_then(name, dict(args) if rule is None else rule(dict(args)))
        if gone := _without(args, new):
            self.hints.append(Hint(f"{self.path} {flow(gone)}", f"{self.path} {flow(_without(new, args))}"))
        return new

    def _moved(self, value: str) -> str:
        new = moved(value) if OURS.fullmatch(value) else value
        if new != value:
            self.hints.append(Hint(value, new, is_option=False))
        return new

    def _below(self, key: str) -> _Node:
        return _Node(self.hints, f"{self.path}.{key}")


def flow(value: Any) -> str:
    """Write plain data as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False)
    return text.removesuffix("...\n").strip()


def resolved_class(path: str) -> Any:
    """Import what a class path names, perhaps an old one; None where that fails, of which the parser will tell."""
    module, _, name = moved(path).rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except Exception:  # a plug-in may raise anything
        return None


@cache
def parameters_of(build: Any) -> dict[str, Any]:
    """Return the arguments of a class or function with their types, those of base classes that get **kwargs too."""
    makers = [vars(c).get("__init__") for c in build.__mro__] if isinstance(build, type) else [build]
    taken: dict[str, Any] = {}
    for make in (make for make in makers if make is not None):
        try:
            given = inspect.signature(make).parameters.values()
        except (TypeError, ValueError):  # written in C
            break
        types = _types(make)
        taken = {p.name: types.get(p.name) for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} | taken
        if not any(p.kind is p.VAR_KEYWORD for p in given):
            break
    return taken


def _types(make: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(make)
    except NameError:  # of a plug-in that imports types for the type checker alone
        return {}


def _without(args: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the arguments that others have too, with the same value."""
    return {key: value for key, value in args.items() if key not in others or others[key] != value}


def groups_of(class_path: str) -> dict[str, type]:
    """Return the groups of options that a class takes, each with its dataclass."""
    build = resolved_class(class_path)
    return {} if build is None else _groups(parameters_of(build))


def _groups(taken: Mapping[str, Any]) -> dict[str, type]:
    kinds = {name: get_args(kind) or (kind,) for name, kind in taken.items()}
    return {n: part for n, parts in kinds.items() for part in parts if isinstance(part, type) and is_dataclass(part)}


def _group(taken: Mapping[str, Any], option: str) -> str | None:
    """Find the one group of options that has an option."""
    holders = [name for name, kind in _groups(taken).items() if option in {field.name for field in fields(kind)}]
    return holders[0] if len(holders) == 1 else None
