"""Names for results: a hash of all that a result depends on, so that what has changed is done anew and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretext.core.yaml_file import read_yaml


def key_of(*facts: object) -> str:
    """Hash facts by their `repr`, to 8 hexadecimal digits."""
    return blake2b(repr(facts).encode(), digest_size=4).hexdigest()


def with_contents(value: Any) -> Any:
    """Put beside each file that plain data names what it holds: of a YAML its content, of others size and date.

    Comments of a YAML are left out, since they change nothing.
    """
    if isinstance(value, Mapping):
        return {key: with_contents(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_contents(part) for part in value]
    if not isinstance(value, str) or "\n" in value or not Path(value).is_file():
        return value
    if value.endswith((".yaml", ".yml")):
        return value, OmegaConf.to_container(read_yaml(value), resolve=True)
    return value, Path(value).stat().st_size, Path(value).stat().st_mtime_ns
