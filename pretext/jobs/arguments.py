"""Options as plain data, such as a YAML holds them, turned to words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yaml import safe_dump


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Turn {trainer.max_steps: 100} to ["--trainer.max_steps", "100"]; structures become YAML on one line.

    An option that is null is left out: so an entry takes back what its board says.
    """
    words = []
    for name, value in ((name, value) for name, value in options.items() if value is not None):
        plain = isinstance(value, str)
        text = value if plain else safe_dump(value, default_flow_style=True, width=10**9).removesuffix("...\n").strip()
        words += [f"--{name}", text]
    return words
