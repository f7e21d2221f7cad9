"""Reading YAML: an error names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError


def read_yaml(file: str | Path) -> Any:
    """Read a YAML file; OmegaConf's loader knows plain data alone, so no tag of it makes or calls anything.

    Raises:
        ValueError: it is no YAML, or holds more than plain data.

    """
    try:
        return OmegaConf.load(file)
    except (YAMLError, UnicodeDecodeError) as error:
        text = " ".join(line.strip() for line in str(error).splitlines())
        raise ValueError(f"{file} is no YAML of plain data: {text}") from error
