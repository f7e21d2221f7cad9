"""Prompts: texts that stand for classes, such as "a photo of a zebra"."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pretext.core.errors import require
from pretext.ops.words import as_bytes

WHO, COLUMNS = "retrieval", ("class", "prompt")
LENGTH = 256  # bytes of a prompt


def read_prompts(file: str | Path, names: Sequence[str], modality: str) -> list[dict[str, Any]]:
    """Read a CSV of `class` and `prompt`, a row for each prompt, as one batch {"x": {modality: bytes}, "index", "y"}.

    Raises:
        ValueError: no such file or column, a class of `names` without a prompt, or one that is not among them.

    """
    require(Path(file).is_file(), WHO, f"there is no file {file}", "give a CSV with the columns class and prompt")
    with Path(file).open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        header = reader.fieldnames or []
        require(set(COLUMNS) <= set(header), WHO, f"{file} has the columns {list(header)}", "name two class and prompt")
        rows = [(row["class"], row["prompt"]) for row in reader]
    told = [name for name, prompt in rows if prompt]
    for name in names:
        require(name in told, WHO, f"{file} has no prompt for the class {name!r} of the data", "add one")
    for name in told:
        require(name in names, WHO, f"the data has no class {name!r}, for which {file} has a prompt", "remove it")
    texts = [prompt for _, prompt in rows if prompt]
    y = torch.tensor([names.index(name) for name in told])
    return [{"x": {modality: as_bytes(texts, LENGTH)}, "index": torch.arange(len(texts)), "y": y}]
