"""The lists of Pascal VOC: of each class, which photos show it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from datamodules.errors import DataError

PRESENT, ABSENT, NOT_JUDGED = 1, 0, -1
_MEANING = {"1": PRESENT, "-1": ABSENT, "0": NOT_JUDGED}
"""What the lists say, in the words of the batch law: their -1 is absent, their 0 difficult."""


def listed_classes(folder: Path, name: str) -> list[str]:
    """Name the classes of which there is a list `<class>_<name>.txt`, sorted.

    Raises:
        DataError: there is none.

    """
    end = f"_{name}.txt"
    classes = sorted(file.name.removesuffix(end) for file in (folder / "ImageSets" / "Main").glob(f"*{end}"))
    if not classes:
        raise DataError(f"{folder / 'ImageSets' / 'Main'} holds no list <class>{end}; unpack the archive that does")
    return classes


def read_lists(folder: Path, name: str, classes: list[str]) -> tuple[list[str], Tensor]:
    """Read the lists `<class>_<name>.txt`: the photos, sorted, and what is in them, int8 (N, K) of 1, 0 and -1.

    Raises:
        DataError: lists of other classes or, one compared with another, of other photos; a line that says something
            else; no photo at all; a photo that is not there.

    """
    if listed_classes(folder, name) != classes:
        strange = sorted(set(listed_classes(folder, name)) ^ set(classes))
        raise DataError(f"{folder}: some lists of classes are there for training or for the test alone: {strange}")
    read = {k: _read(folder / "ImageSets" / "Main" / f"{k}_{name}.txt") for k in classes}
    photos = sorted(read[classes[0]])
    for k, says in read.items():
        if says.keys() != read[classes[0]].keys():
            one = min(says.keys() ^ read[classes[0]].keys())
            raise DataError(
                f"{folder}: {k}_{name}.txt lists {len(says)} photos, {classes[0]}_{name}.txt {len(photos)}; {one!r} is "
                "in one of them only, but every list must name every photo"
            )
    if not photos:
        raise DataError(f"{folder}: the lists of {name!r} are empty")
    _find(folder, photos, name)
    return photos, torch.tensor([[read[k][photo] for k in classes] for photo in photos], dtype=torch.int8)


def _read(file: Path) -> dict[str, int]:
    """Read one list: photo -> 1 present, 0 absent, -1 not judged."""
    says: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match line.split():
            case []:
                continue
            case [photo, said] if said in _MEANING and photo not in says:
                says[photo] = _MEANING[said]
            case _:
                raise DataError(
                    f"{file}, line {number} is {line!r}; wanted is a photo that was not listed yet, and 1 where the "
                    "class is present, -1 absent, 0 difficult"
                )
    return says


def _find(folder: Path, photos: list[str], name: str) -> None:
    """Refuse lists with photos that are not there."""
    images = folder / "JPEGImages"
    there = {file.name for file in images.iterdir()} if images.is_dir() else set()
    missing = [photo for photo in photos if f"{photo}.jpg" not in there]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(photos)} photos on the lists of {name!r} are not in {images}, for "
            f"instance {missing[0]}.jpg; unpack the archive of that split too"
        )
