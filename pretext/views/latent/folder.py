"""Writing what a generator draws: a folder of pictures, masks and captions, which data modules read."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pretext.core.rng import rng

if TYPE_CHECKING:
    from pretext.views.latent.shapes import Shapes

_AT_ONCE = 256


def write(shapes: Shapes, folder: str | Path, count: int, seed: int = 0) -> Path:
    """Write `count` pictures of shapes into a new folder, which appears at once, when all is written.

    `images/<class>/<number>.png`, a class map under the same name below `masks` (0 the ground, then the classes from 1
    on), and `captions.csv` with the columns `file` (from the folder on), `caption` and `class`, several rows a file.
    Picture k of a seed is of the same latents whatever `count`, the size and the style are.

    Raises:
        ValueError: fewer than one picture.
        FileExistsError: the folder is there.

    """
    folder = Path(folder).expanduser()
    if count < 1:
        raise ValueError(f"{type(shapes).__name__}.write: count={count}; give at least 1 picture")
    if folder.exists():
        raise FileExistsError(f"{type(shapes).__name__}.write: {folder} is there already; name a new folder")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    rmtree(draft, ignore_errors=True)
    try:
        for kind in ("images", "masks"):
            for name in shapes.classes:
                (draft / kind / name).mkdir(parents=True)
        with (draft / "captions.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("file", "caption", "class"))
            for number, latents in _drawn(shapes, count, seed):
                _write_some(shapes, draft, number, latents, table)
        draft.rename(folder)
    finally:
        rmtree(draft, ignore_errors=True)
    return folder


def _drawn(shapes: Shapes, count: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Draw latents in blocks of one size, each by its own key, so that a larger count begins alike."""
    for start in range(0, count, _AT_ONCE):
        latents = shapes.sample(_AT_ONCE, rng("cpu", "Shapes", seed, start))
        yield start, latents[: count - start]


def _write_some(shapes: Shapes, folder: Path, start: int, latents: Tensor, table: csv._writer) -> None:  # type: ignore[name-defined]
    pictures = (shapes.decode(latents) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    masks, labels, captions = shapes.masks(latents).numpy(), shapes.labels(latents).tolist(), shapes.captions(latents)
    for k, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        shape = shapes.classes[labels[k]]
        name = f"{shape}/{start + k:06}.png"
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / "images" / name)
        Image.fromarray(np.ascontiguousarray(mask)).save(folder / "masks" / name)
        table.writerows((f"images/{name}", caption, shape) for caption in captions[k])
