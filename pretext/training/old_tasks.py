"""Arguments of tasks by the names that they had in release 0.1, for configs and runs made then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RULES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Name of a task's class -> from its arguments as they were written to those of today; see `pretext.training.renamed`."""
