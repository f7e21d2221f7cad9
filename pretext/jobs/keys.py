"""Names for results: a hash of all that a result depends on, so that what has changed is done anew and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc


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


def as_written(file: Path) -> Any:
    """Read a YAML with its interpolations resolved, but those of the environment."""
    with unresolved_environment():
        return OmegaConf.to_container(OmegaConf.load(file), resolve=True)


@contextmanager
def unresolved_environment() -> Iterator[None]:
    """Let `${oc.env:NAME}` stand for itself where OmegaConf resolves interpolations meanwhile."""
    OmegaConf.register_new_resolver("oc.env", _itself, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _itself(*words: str | None) -> str:
    return "${oc.env:" + ",".join("null" if word is None else word for word in words) + "}"


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
