"""What workers of one study must have in common, also where the study was made by an earlier release."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from pretext.jobs.study import differences
from pretext.search.section import PLACES
from pretext.search.settings import Search, read_search
from pretext.training.renamed import current

OWN = {"pretext", "datamodules"}
PATH = re.compile(r"[^\W\d]\w*(\.\w+)+")


def disagreements(search: Search, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Name each setting that a study and a worker do not share; how an earlier release wrote it does not matter."""
    odd = differences(mine, theirs)
    if not odd or not _packages(theirs) <= _packages(mine) | OWN:  # the names of classes in a study import nothing else
        return odd
    today = json.loads(json.dumps(_as_of_today(theirs, search)))
    return differences(_by_definition(mine), _by_definition(today))


def _packages(value: Any) -> set[str]:
    """Name the packages of all that may be the path of a class in plain data."""
    if isinstance(value, str):
        return {value.split(".")[0]} if PATH.fullmatch(value) else set()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return set().union(*map(_packages, parts))


def _as_of_today(settings: Mapping[str, Any], search: Search) -> Mapping[str, Any]:
    """Write the settings of a study as this release would: options by their present names, also those left at defaults.

    They are read as the search of a worker is. What belongs to a machine is not among them, so the present worker's
    `search` says it. Settings that this release cannot read stay as they are.
    """
    try:
        own, evolve = current(settings), dict(settings["evolve"])
        evolve["probe_data"] = _placed(evolve.get("probe_data"), search.options["probe_data"])
        config = {**own, "evolve": evolve, "data": _placed(own.get("data"), search.config.get("data"))}
        return read_search(config, []).shared
    except Exception:  # of any parser; they are then compared as they stand
        return settings


def _by_definition(value: Any) -> Any:
    """Name every class of plain data by the module where it is defined, since it may have several names."""
    if isinstance(value, Mapping):
        return {key: _defined(part) if key == "class_path" else _by_definition(part) for key, part in value.items()}
    return [_by_definition(part) for part in value] if isinstance(value, list | tuple) else value


def _defined(path: str) -> str:
    """Return a class's path by its module; as it is where there is no such class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names that have moved: the study has them, not the user
            named = resolve_name(path)
        return f"{named.__module__}.{named.__qualname__}"
    except (ImportError, AttributeError, ValueError):
        return path


def _placed(data: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give a data module of a study the places of a worker's own."""
    if not data:
        return None
    places = {key: value for key, value in ((own or {}).get("init_args") or {}).items() if key in PLACES}
    return {**data, "init_args": {**(data.get("init_args") or {}), **places}}
