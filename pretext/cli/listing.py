"""How verbs list what there is: one line for each, cut to the terminal's width, whole in a pipe."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence


def listed(rows: Sequence[Sequence[str]], more: str = "") -> str:
    """Write rows in columns, the last as long as it is; on a terminal no line is longer than that.

    `more`: where there is more to read, for a terminal alone.
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)] if rows else []
    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if terminal else 0
    lines = []
    for row in rows:
        line = "  ".join([f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)] + [row[-1]]).rstrip()
        lines.append(line if not columns or len(line) <= columns else f"{line[: columns - 1]}…")
    return "".join(f"{line}\n" for line in (*lines, *(["", more] if terminal and more else [])))


def told(*parts: str) -> str:
    """Join what there is of some facts."""
    return " · ".join(part.strip() for part in parts if part.strip())


def first(text: str) -> str:
    """Cut a result to what it says first; what stands in brackets belongs together."""
    for found in re.finditer(r"(?<=[^.\d])[;.] |; |\. (?=[A-Z])", text):
        before = text[: found.start()]
        if before.count("(") == before.count(")"):
            return before.rstrip(".;")
    return text.rstrip(".;")
