"""Pictures that are made here: deterministic, with edges, textures and noise, so that files cost what photos cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from datamodules.options import cores

PHOTO = (500, 375)  # pixels, as most of ImageNet's files have them
CLASSES = ("round", "square")


def make_photos(folder: Path, count: int, names: int = 1) -> Path:
    """Write `count` JPEG files of 500 x 375 px as `folder/{train,test}/<class>/*.jpg`, a tenth of them to test on.

    Each file stands there under so many names: to a reader these are so many files.
    """
    return _made(folder, count, PHOTO, ".jpg", names=names)


def make_small(folder: Path, count: int) -> Path:
    """Write `count` PNG files of 32 px to train on, and as many to test on, in the layout of CIFAR-10."""
    return _made(folder, 2 * count, (32, 32), ".png", test=2)


def _made(folder: Path, count: int, size: tuple[int, int], suffix: str, test: int = 10, names: int = 1) -> Path:
    """Write the files, unless they are there; every `test`-th is to test on."""
    if (folder / "written").exists():
        return folder
    rmtree(folder, ignore_errors=True)
    for split in ("train", "test"):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(partial(_write, folder, size, suffix, test), range(count)))
    for file in [path for path in folder.rglob(f"*{suffix}") if path.is_file()]:
        for number in range(1, names):
            file.with_name(f"{file.stem}-{number}{suffix}").hardlink_to(file)
    (folder / "written").touch()
    return folder


def _write(folder: Path, size: tuple[int, int], suffix: str, test: int, number: int) -> None:
    split = "test" if number % test == test - 1 else "train"
    name = CLASSES[number // test % 2]
    Image.fromarray(picture(number, size, name)).save(folder / split / name / f"{number:05}{suffix}", quality=90)


def picture(number: int, size: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """Draw shapes of one kind on a gradient, with noise of a coarse and of a fine grain: (height, width, 3)."""
    rng = np.random.default_rng(number)
    width, height = size
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = int(rng.integers(width // 20, width // 4))
        box, colour = (x - radius, y - radius, x + radius, y + radius), tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse(box, colour) if name == "round" else draw.rectangle(box, colour)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1), dtype=np.uint8))
    grain = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.SMOOTH), np.float32)[..., None]
    fine = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    mixed = np.asarray(image, np.float32) + 0.25 * (grain - 128) + fine
    return np.clip(mixed, 0, 255).astype(np.uint8)
