"""What workers of one study must have in common, also where the study was made by an earlier release."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any


def canonical(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write settings as this release does: every class by the module where it is defined now."""
    plain = _by_definition(settings)
    assert isinstance(plain, dict)
    return plain


def _by_definition(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _defined(part) if key == "class_path" else _by_definition(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_by_definition(part) for part in value]
    return value


def _defined(path: str) -> str:
    """Return a class's path by its module; as it is where there is no such class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names that have moved, which nobody has to change here
            named = resolve_name(path)
        return f"{named.__module__}.{named.__qualname__}"
    except (ImportError, AttributeError, ValueError):
        return path
