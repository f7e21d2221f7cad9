"""Results as flat rows: what tables of numbers, CSV files and data frames hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any


def flat(scores: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Bring nested dicts to one, whose keys are paths such as "linear/accuracy"; what is None is left out."""
    for key, value in scores.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}{key}/")
        elif value is not None:
            yield f"{path}{key}", value


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Make a `pandas.DataFrame` of flat rows.

    Raises:
        ImportError: pandas is not installed.

    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas; rows() gives plain dicts") from error
    return pandas.DataFrame(rows)
