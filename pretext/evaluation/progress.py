"""A bar on the terminal while batches are embedded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


def with_progress(batches: Iterable[Mapping[str, Any]], title: str) -> Iterator[Mapping[str, Any]]:
    """Yield batches of {"index", ...}; where stderr is a terminal, show how many items a second; no title, no bar."""
    console, begin, images = Console(stderr=True), time.perf_counter(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=console, disable=not title or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=_total(batches), speed="")
        for batch in batches:
            yield batch
            images += len(batch["index"])
            speed = f"{images} items, {images / (time.perf_counter() - begin):.0f}/s"
            bar.update(task, advance=1, speed=speed)


def _total(batches: Any) -> int | None:
    """Count batches; None where nobody knows, as of what is taken from others in turn."""
    try:
        return len(batches)
    except TypeError:
        return None
