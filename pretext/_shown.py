"""Lets results show themselves as tables: attached here, so that no procedure imports a face."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pretext.evaluation.results import ProbeResult


def attach() -> None:
    """Give `ProbeResult` its text and its HTML, which are drawn when they are asked for."""

    def text(self: ProbeResult) -> str:
        notebook: Any = import_module("pretext.report.notebook")
        return str(notebook.probe_text(self))

    def html(self: ProbeResult) -> str:
        notebook: Any = import_module("pretext.report.notebook")
        return str(notebook.probe_html(self))

    for name, draw in (("__repr__", text), ("__str__", text), ("_repr_html_", html)):
        setattr(ProbeResult, name, draw)
