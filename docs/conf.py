"""The site: `make docs`. It is built without network, and its pages ask nobody for anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import pytorch_lightning  # noqa: E402, F401  # before ours, as the command line does
from extension import docstrings, generated, links, pictures  # noqa: E402

from pretext import __version__  # noqa: E402

project = "pretext"
copyright = "the authors of pretext"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["extension"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"pretext {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
myst_heading_anchors = 4
smartquotes = False  # two hyphens begin an option
add_module_names = False
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of Lightning and torch are theirs
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
napoleon_use_rtype = False

COPIES = {page.removesuffix(".md"): file for file, page in links.PAGES.items() if file != "README.md"}


def _read(app: Any, page: str, source: list[str]) -> None:
    """Write what a page takes from the code or from other files of the repository."""
    text = links.copied(COPIES[page]) if page in COPIES else links.adapted(source[0])
    source[0] = generated.filled(text)


def _begin(app: Any) -> None:
    """Draw the pictures beside the doctrees, and let pages find them as `pictures/NAME.png`."""
    pictures.draw(DOCS / "pictures", Path(app.doctreedir).parent / "media")


def _docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = docstrings.rewritten(lines)


def setup(app: Any) -> None:
    """Tell Sphinx what is ours."""
    app.connect("builder-inited", _begin)
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before Sphinx's reader of sections
