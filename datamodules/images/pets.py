"""Photos with a mask of their pixels, laid out as the Oxford-IIIT Pet data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.base import DataError, DataModule, Split, chosen
from datamodules.images.canvases import Decoding, Files
from datamodules.images.decode import cause_of
from datamodules.images.folders import MAX_PIXELS, check_root, cores
from datamodules.loader import Batch, Source, batch_of

IGNORED = 255
"""In a mask: not to be judged."""
CLASSES = ["background", "pet"]
LISTS: dict[Split, str] = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_MEANING = {1: 1, 2: 0, 3: IGNORED}  # the trimaps' pet, background and border
_UPRIGHT = 1
_EXIF_ORIENTATION = 0x0112
_LISTED = 20  # bad pairs that an error names
_CACHE = 2 * 2**30  # bytes of canvases that are kept by default


class Pets(DataModule):
    """Photos of pets with their masks, as in https://www.robots.ox.ac.uk/~vgg/data/pets/ (37 breeds, 7,349 photos).

    `root/images/<name>.jpg`, `root/annotations/trimaps/<name>.png` (1 pet, 2 background, 3 border) and the lists
    `root/annotations/{trainval,test}.txt`, whose lines begin with a name; what else they say (breed, species) is not
    used. In batches, y is uint8 (N, canvas, canvas): 0 background, 1 pet, 255 border, which is not judged.

    Photo and mask are cut to the same square, the centre; the photo is resized as all photos are (bilinear,
    antialiased), the mask by taking the pixel nearest to each centre, so that it names no class that was not there.
    All masks are decoded when a split is opened, about 3 ms each, and kept: canvas x canvas bytes for each item. A pair
    is no item, and listed as skipped with its cause, where the mask is missing or cannot be read, holds anything else
    than 1, 2 and 3, is not of its photo's size, or belongs to a photo whose EXIF orientation turns it.

    Args:
        root: the folder.
        canvas: side of the square that photos and masks are resized to, pixels.
        batch_size: items per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        limit: use only so many items of the training set.
        cache: bytes of canvases (3 x canvas x canvas each) up to which a split's photos, once decoded, are kept in
            memory, or "memory" to keep them whatever they take. A larger split is decoded anew in every epoch.
        max_bad: stop when more than this share of a split's pairs cannot be used.
        max_pixels: a file with more pixels counts as one that cannot be read; it is never decoded.
        seed: of the order of training.

    """

    def __init__(
        self,
        root: str | Path,
        canvas: int = 128,
        batch_size: int = 64,
        workers: int | None = None,
        val: float = 0.1,
        limit: int | None = None,
        cache: int | Literal["memory"] = _CACHE,
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self.root, self.cache = Path(root).expanduser(), cache
        self.how = Decoding(canvas, workers or cores(), max_pixels, max_bad)

    @property
    def classes(self) -> list[str]:
        return list(CLASSES)

    def open(self, split: Split) -> Source:
        names = listed(self.root, LISTS[split])
        if split == "train":
            names = [names[k] for k in chosen(len(names), self.limit).tolist()]
        names, masks = self._masks(names)
        keep = self.cache == "memory" or 3 * self.how.canvas**2 * len(names) <= self.cache
        photos = Files(self.root, [_photo(name) for name in names], None, self.how, keep, self._skip)
        return Masked(photos, masks)

    def _masks(self, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """Decode the masks of photos, (N, canvas, canvas); leave out, with their photos, those that cannot be used."""
        with ThreadPoolExecutor(self.how.workers, thread_name_prefix="decode") as threads:
            read = list(threads.map(partial(self._mask_or_cause), names))
        bad = {_mask(name): mask for name, mask in zip(names, read, strict=True) if isinstance(mask, str)}
        if bad:
            self._skip(bad)
        if len(bad) > self.how.max_bad * len(names):
            some = [f"\n  {name}: {cause}" for name, cause in list(bad.items())[:_LISTED]]
            more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
            raise DataError(
                f"{len(bad)} of {len(names)} masks in {self.root} cannot be used, more than max_bad="
                f"{self.how.max_bad:g} of them; repair them or take them off the list, or raise max_bad:"
                + "".join(some)
                + more
            )
        masks = [mask for mask in read if isinstance(mask, Tensor)]
        self._refuse_unless(len(masks) > 0, f"max_bad={self.how.max_bad:g}", f"one mask at least in {self.root}")
        return [name for name in names if _mask(name) not in bad], torch.stack(masks)

    def _mask_or_cause(self, name: str) -> Tensor | str:
        try:
            return read_mask(self.root / _photo(name), self.root / _mask(name), self.how.canvas, self.how.max_pixels)
        except Exception as error:  # PIL raises many kinds at a broken file
            return cause_of(error)


class Masked(Source):
    """Photos with their masks: a source of photos whose batches get "y", uint8 (N, S, S)."""

    def __init__(self, photos: Files, masks: Tensor) -> None:
        self.photos, self.masks = photos, masks

    def __len__(self) -> int:
        return len(self.photos)

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for batch in self.photos.read(plan, pool):
            yield batch_of(batch["x"], batch["index"], self.masks)

    def fingerprint(self) -> str:
        digest = blake2b(self.photos.fingerprint().encode(), digest_size=16)
        digest.update(self.masks.numpy().data)
        return digest.hexdigest()


def listed(root: Path, file: str) -> list[str]:
    """Read the names in a list, the first word of each line; lines that begin with # are comments.

    Raises:
        DataError: no such folder or list, one without names, or with a name twice.

    """
    check_root(root)
    path = root / file
    if not path.is_file():
        raise DataError(
            f"there is no list {path}; Pets wants images/*.jpg, annotations/trimaps/*.png and the lists "
            f"{' and '.join(LISTS.values())} in {root}"
        )
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    names = [words[0] for words in lines if words]
    if not names:
        raise DataError(f"the list {path} names no photo; each line wants a name first, such as Abyssinian_1")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(f"the list {path} names {', '.join(twice[:3])} twice; an item may stand there once")
    return names


def read_mask(photo: Path, mask: Path, canvas: int, max_pixels: int) -> Tensor:
    """Decode the centre square of a photo's mask, resized to the nearest pixels: uint8 (canvas, canvas).

    Raises:
        DataError: it does not fit the photo, or says something else than 1, 2 and 3.
        Exception: whatever the decoder raises at a corrupt or missing file.

    """
    if not photo.is_file():
        raise DataError(f"there is no photo {photo.name} for it")
    with Image.open(photo) as picture, Image.open(mask) as drawn:  # only the headers so far
        if picture.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT:
            raise DataError("its photo is turned by an EXIF orientation, the mask perhaps not; save the photo upright")
        if drawn.size != picture.size:
            raise DataError(f"{_size(drawn)} pixels, but its photo has {_size(picture)}")
        if drawn.width * drawn.height > max_pixels:
            raise DataError(f"{_size(drawn)} pixels, more than max_pixels={max_pixels}")
        pixels = np.asarray(drawn)
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not np.isin(pixels, list(_MEANING)).all():
        raise DataError("its pixels are not all 1 (pet), 2 (background) or 3 (border)")
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2  # the square of datamodules.images.decode
    table = np.zeros(max(_MEANING) + 1, np.uint8)
    table[list(_MEANING)] = list(_MEANING.values())
    square = torch.from_numpy(table[pixels[top : top + side, left : left + side]])
    return interpolate(square[None, None], (canvas, canvas), mode="nearest-exact")[0, 0]


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def _photo(name: str) -> str:
    return f"images/{name}.jpg"


def _mask(name: str) -> str:
    return f"annotations/trimaps/{name}.png"
