"""Docstrings are plain text with a little Markdown; Sphinx reads reStructuredText. This makes the one of the other."""

from __future__ import annotations

import re
from collections.abc import Sequence

SECTION = re.compile(r"(Args|Raises|Returns|Yields|Attributes):")
MEANT = re.compile(r"([*|\\])|(?<=\w)(_)(?!\w)")  # what reStructuredText would take for markup


def rewritten(lines: Sequence[str]) -> list[str]:
    """Write a docstring in reStructuredText; sections such as `Args:` stay, for Sphinx's own reader of them."""
    made: list[str] = []
    section = verbatim = False
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            section, verbatim = bool(SECTION.fullmatch(line.strip())), False
        elif indented and not section and not verbatim and not (made and made[-1].strip()):
            made += ["::", ""]
            verbatim = True
        made.append(line if verbatim or not line.strip() else _prose(line))
    return made


def _prose(line: str) -> str:
    parts = line.split("`")
    if len(parts) % 2 == 0:  # code that goes on in the next line: take it for prose
        return MEANT.sub(r"\\\g<0>", line.replace("`", "'"))
    return "``".join(part if at % 2 else MEANT.sub(r"\\\g<0>", part) for at, part in enumerate(parts))
