"""Links between files of the repository, made to links of the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PAGES |= {"benchmarks/README.md": "results.md"}
"""Files of the repository that are pages of the site under another name."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def copied(file: str) -> str:
    """Read a file of the repository as a page of the site."""
    return adapted((ROOT / file).read_text(encoding="utf-8"), (ROOT / file).parent)


def adapted(text: str, folder: Path = DOCS) -> str:
    """Let the links of a text, which are relative to `folder`, lead to pages of the site, or to copies of files."""
    parts = CODE.split(text)
    return "".join(part if at % 2 else LINK.sub(lambda m: _link(m, folder), part) for at, part in enumerate(parts))


def _link(found: re.Match[str], folder: Path) -> str:
    mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
    if not target or re.match(r"\w+:", target):
        return found[0]
    file = (folder / target).resolve()
    if not file.is_relative_to(ROOT) or (folder == DOCS and not file.exists()):
        return found[0]
    inside = str(file.relative_to(ROOT))
    if inside in PAGES:
        return f"[{text}]({PAGES[inside]}{anchor})"
    if file.is_dir() or (file.suffix == ".md" and file.parent != DOCS):
        return text
    return f"{mark}[{text}]({os.path.relpath(file, DOCS)}{anchor})"
