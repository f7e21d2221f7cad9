"""Arguments of tasks by the names that they had in release 0.1, for configs and runs made then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RULES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Name of a task's class -> from its old arguments to those of today; `pretext.training.renamed` applies them."""
