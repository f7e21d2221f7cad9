"""One page for all reports: `templates/base.html` with its style, its one script and its policy; a child per report.

A child begins `{% extends "base.html" %}` and fills the blocks `headline`, `main` and `foot`. Everywhere in templates
`m` holds the macros of `macros.html`: tiles, box, fold, facts, missing, commands, picture. Whatever is written with
`{{ }}` is escaped, unless it is markup already: a `table.Table`, or what `plot` drew.
"""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from pretext.core.files import write_whole

Tile = tuple[str, str, list[str]]
"""A number to remember: its label, the number in words, and what it must be compared with."""


def write_page(file: Path, template: str, name: str, about: str, **content: object) -> Path:
    """Write a child of the base page, whole or not at all, and return its path.

    `name` is the title and `about` the line below it; `content` is what else the template names. A name that the
    template wants and does not get raises `jinja2.UndefinedError`.
    """
    return write_whole(file, _PAGES.get_template(template).render(name=name, about=about, **content))


def macro(name: str, *content: object) -> Markup:
    """Draw one macro of `macros.html`, such as `macro("box", title, markup)`."""
    return Markup(getattr(_PAGES.globals["m"], name)(*content))  # macros escape what they are given


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Turn a file to an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def embedded(file: Path) -> tuple[str, int] | None:
    """Read a picture's address and its width: pages show it smaller, to be crisp on dense screens and in print."""
    if not file.exists():
        return None
    content = file.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        return data_uri(content), picture.width


def breakable(name: str) -> Markup:
    """Let a long name break after its parts, at slashes and underscores."""
    return Markup(str(escape(name)).replace("/", "/<wbr>").replace("_", "_<wbr>"))


def _digest(script: str) -> str:
    """Name a script by its hash, as a content-security policy does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


_PAGES = Environment(loader=PackageLoader("pretext.report"), autoescape=True, undefined=StrictUndefined)
_PAGES.trim_blocks = _PAGES.lstrip_blocks = True
_PAGES.filters |= {"digest": _digest, "breakable": breakable}
_PAGES.globals["m"] = _PAGES.get_template("macros.html").module
