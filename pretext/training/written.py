"""The config of a run that Python made: what its module and data were built with, in a config's words."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl

from pretext.training.host import Host
from pretext.training.loaders import Adapted, built_of
from pretext.training.pretrainer import Pretrainer
from pretext.training.renamed import parameters_of
from pretext.training.trained import Run
from pretext.training.unwritten import UNWRITTEN

ABSENT = object()


def config_of(module: Host, data: pl.LightningDataModule, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a config what a module and its data were built with; what cannot be said stands under "unwritten".

    A value can be said if it is plain, or an object that keeps what it was built with (`core.built.Built`, and data
    modules), of a class that Python can import; a class, or a `functools.partial` of one with named options.
    """
    words = Words()
    model = words.of(module, "model")
    if type(module) is Pretrainer:
        model = model["init_args"]
    config = {
        "seed_everything": module.seed,
        "trainer": words.of(dict(trainer), "trainer"),
        "model": model,
        "data": words.of(data, "data"),
    }
    given = {key: value for key, value in config.items() if value is not ABSENT}
    return given | ({UNWRITTEN: words.unwritten} if words.unwritten else {})


class Words:
    """Says values in plain data, and remembers which it could not say."""

    def __init__(self) -> None:
        self.unwritten: dict[str, str] = {}

    def of(self, value: Any, path: str, kinds: tuple[Any, ...] = ()) -> Any:
        """Say a value that stands at a path of the config; `kinds`: what its option is typed as."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Run):
            return str(value.folder.resolve()) if value.is_written else self._lacking(value, path)
        if isinstance(value, list | tuple):
            return self._list(value, path)
        if isinstance(value, Mapping):
            return self._dict({str(key): part for key, part in value.items()}, path)
        if isinstance(value, type):
            return self._object(value, {}, path)
        if isinstance(value, partial):
            return self._lacking(value, path) if value.args else self._object(value.func, value.keywords, path)
        if is_dataclass(value):
            args = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
            kind = type(value)
            return self._arguments(kind, args, path) if kind in kinds else self._object(kind, args, path)
        if isinstance(built := built_of(value), partial):
            bound = inspect.signature(built.func).bind_partial(*built.args, **built.keywords).arguments
            return self._object(built.func, bound, path)
        return self._lacking(value.module if isinstance(value, Adapted) else value, path)

    def _object(self, build: Any, args: Mapping[str, Any], path: str) -> Any:
        name = f"{build.__module__}.{getattr(build, '__qualname__', '')}"
        if not importable(build):
            return self._lacking(build, path)
        inside = self._arguments(build, args, f"{path}.init_args")
        return {"class_path": name, **({"init_args": inside} if inside else {})}

    def _arguments(self, build: Any, args: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Say arguments, but the seed, which one option sets for all, and what is as by default."""
        types = parameters_of(build)
        defaults = {name: p.default for name, p in inspect.signature(build).parameters.items()}
        told = {}
        for name, value in args.items():
            if name == "seed" or (value is defaults.get(name, ABSENT)):
                continue
            said = self.of(value, f"{path}.{name}", (types.get(name), *get_args(types.get(name))))
            if said is not ABSENT:
                told[name] = said
        return told

    def _list(self, values: Any, path: str) -> Any:
        said = [self.of(value, f"{path}[{place}]") for place, value in enumerate(values)]
        return ABSENT if any(value is ABSENT for value in said) else said

    def _dict(self, values: Mapping[str, Any], path: str) -> Any:
        said = {key: self.of(value, f"{path}.{key}") for key, value in values.items()}
        return {key: value for key, value in said.items() if value is not ABSENT}

    def _lacking(self, value: Any, path: str) -> Any:
        known = value.func if isinstance(value, partial) else value
        self.unwritten[path] = known.__qualname__ if isinstance(known, type) else f"a {type(known).__name__}"
        return ABSENT


def importable(build: Any) -> bool:
    """Tell whether a class can be imported by its path: not one of a notebook, a script or inside a function."""
    module, name = getattr(build, "__module__", ""), getattr(build, "__qualname__", "")
    found = sys.modules.get(module)
    return isinstance(build, type) and module != "__main__" and getattr(found, name, None) is build
