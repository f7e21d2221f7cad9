"""What the config of a run that Python made could not say, and who can do without."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretext.core.runs import CONFIG

UNWRITTEN = "unwritten"
"""Key of a config under which stands what it could not say."""
PARTS = ("model", "data", "trainer")
"""Of a config."""


def refuse_unwritten(path: str | Path, config: Mapping[str, Any] | None = None, needed: Sequence[str] = PARTS) -> None:
    """Refuse the config of a run made in Python where a needed part was made of what no config can name.

    Raises:
        ValueError: there are such parts; the message names them.

    """
    parts = lacking(read_plain(path) if config is None else config, needed)
    if not parts:
        return
    named = "; ".join(f"{where} ({what})" for where, what in parts.items())
    other = "other data, as in pretext.probe(run, data)"
    use = other if all(_part(where) == "data" for where in parts) else "the run that pretext.fit returned"
    raise ValueError(
        f"{path}: the run was made in Python from what no config can name: {named}; use {use}, or build it from "
        "classes that can be imported"
    )


def lacking(config: Mapping[str, Any], needed: Sequence[str] = PARTS) -> dict[str, str]:
    """Name what needed parts of a config could not say: {path: what it was}."""
    return {where: what for where, what in (config.get(UNWRITTEN) or {}).items() if _part(where) in needed}


def can_be_built(run: Path, needed: Sequence[str] = PARTS) -> bool:
    """Tell whether a run has a config that says all of the needed parts."""
    return (run / CONFIG).is_file() and not lacking(read_plain(run / CONFIG), needed)


def read_plain(path: str | Path) -> dict[str, Any]:
    """Read a config file as it is."""
    config = OmegaConf.to_container(OmegaConf.load(path))
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def _part(where: str) -> str:
    """Return the part in which a path lies: data, of data.init_args.train."""
    return re.split(r"[.\[]", where, maxsplit=1)[0]
