"""Names for results: a hash of all that a result depends on, so that what has changed is done anew and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omegaconf import Container, OmegaConf


def key_of(*facts: object) -> str:
    """Hash facts by their `repr`, to 8 hexadecimal digits."""
    return blake2b(repr(facts).encode(), digest_size=4).hexdigest()


def with_contents(value: Any) -> Any:
    """Put beside each file that plain data names what it holds: of a YAML its content, of others size and date.

    Comments of a YAML are left out, since they change nothing. What is taken from the environment stays as it is
    written, in plain data as in a YAML, so that a key does not change with the place of the data.
    """
    if isinstance(value, Mapping):
        return {key: with_contents(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_contents(part) for part in value]
    if not isinstance(value, str) or "\n" in value or not Path(here(value)).is_file():
        return value
    file = Path(here(value))
    if value.endswith((".yaml", ".yml")):
        return value, as_written(file)
    return value, file.stat().st_size, file.stat().st_mtime_ns


def as_written(file: str | Path) -> Any:
    """Read a YAML with its interpolations resolved, but those of the environment."""
    return OmegaConf.to_container(environment_kept(OmegaConf.load(file)), resolve=True)


def environment_kept(config: Container) -> Container:
    """Return a config in which `${oc.env:NAME}` is no interpolation but stands for itself.

    One inside another interpolation (`${oc.decode:${oc.env:NAME}}`) stays an interpolation.
    """
    kept: Container = OmegaConf.create(_kept(OmegaConf.to_container(config, resolve=False)))
    return kept


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_kept(part) for part in value]
    return _escaped(value) if isinstance(value, str) else value


def _escaped(text: str) -> str:
    """Put OmegaConf's backslash before each `${oc.env:` that is in no other interpolation."""
    parts, done, depth = [], 0, 0
    for found in re.finditer(r"\$\{(oc\.env:)?|\}", text):
        if found[1] and depth == 0:
            parts.append(text[done : found.start()] + "\\")
            done = found.start()
        depth = max(0, depth - 1) if found[0] == "}" else depth + 1
    return "".join(parts) + text[done:]


def here(value: Any) -> Any:
    """Put into plain data, strings and what holds them, what `${oc.env:NAME}` is on this machine.

    Raises:
        InterpolationResolutionError: the environment has no such variable.

    """
    if isinstance(value, Mapping):
        return {key: here(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [here(part) for part in value]
    if not isinstance(value, str) or "${oc.env:" not in value:
        return value
    return OmegaConf.create({"value": value})["value"]
