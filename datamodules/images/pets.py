"""Photos with a mask of their pixels, laid out as the Oxford-IIIT Pet data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from datamodules.base import DataModule, Split
from datamodules.draws import chosen
from datamodules.errors import DataError, require
from datamodules.file_source import FileSource
from datamodules.images.canvases import CACHE, MAX_PIXELS, Cache, Canvases, Decoding
from datamodules.images.masks import IGNORED as IGNORED
from datamodules.images.masks import Masks
from datamodules.images.masks import read_mask as read_mask
from datamodules.images.nvjpeg import chosen_decoder
from datamodules.listing import check_root
from datamodules.loader import Batch, Source, batch_of
from datamodules.options import READING, SPLITTING, Reading, Splitting, disk_of

CLASSES = ["background", "pet"]
LISTS: dict[Split, str] = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}


@final
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
        cache: bytes of canvases (3 x canvas x canvas each) up to which a split's photos, once decoded, are kept in
            memory, or "memory" to keep them whatever they take. A larger split is decoded anew in every epoch.
            Or a folder to keep them in, for later runs too, safe under several processes; batches are the same.
        max_pixels: a file with more pixels counts as one that cannot be used; it is never decoded.
        reading: how files are read; `max_bad` counts pairs.
        split: which pairs are for what; the test set is laid down.
        seed: of the order of training.
        cache_gb: gigabytes that a folder as `cache` may hold; when full, what belongs to other settings goes first, the
            least recently used first.

    """

    shown = ("canvas",)

    def __init__(
        self,
        root: str | Path,
        canvas: int = 128,
        batch_size: int = 64,
        cache: Cache = CACHE,
        max_pixels: int = MAX_PIXELS,
        reading: Reading = READING,
        split: Splitting = SPLITTING,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        self.root, self.cache, self.how = Path(root).expanduser(), cache, Decoding(canvas, max_pixels)
        self.how.check(self)
        self.reading, self.disk = reading, disk_of(cache, cache_gb)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return list(CLASSES)

    def open(self, split: Split) -> Source:
        names = listed(self.root, LISTS[split])
        if split == "train":
            names = [names[k] for k in chosen(len(names), self.limit).tolist()]
        names, masks = self._masks(names)
        keep = self.how.room(len(names), len(names), self.cache)
        decoder, files = Canvases(self.how), [_photo(name) for name in names]
        photos = FileSource(self.root, files, None, decoder, self.reading, self._skipped.add, keep, self.disk)
        return Masked(chosen_decoder(photos, self.reading), masks)

    def _masks(self, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """Decode the masks of photos, (N, canvas, canvas); leave out, with their photos, those that cannot be used."""
        files = [_mask(name) for name in names]
        source = FileSource(self.root, files, None, Masks(self.how), self.reading, self._skipped.add)
        batches = list(source.read(torch.split(torch.arange(len(names)), self.batch_size)))
        require(self, len(batches) > 0, f"max_bad={self.reading.max_bad:g}", f"one mask at least in {self.root}")
        kept = torch.cat([batch["index"] for batch in batches])
        return [names[k] for k in kept.tolist()], torch.cat([batch["x"] for batch in batches])


@final
class Masked(Source):
    """Photos with their masks: a source of photos whose batches get "y", uint8 (N, S, S)."""

    def __init__(self, photos: Source, masks: Tensor) -> None:
        self.photos, self.masks = photos, masks

    def __len__(self) -> int:
        return len(self.photos)

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for batch in self.photos.read(plan, pool):
            yield batch_of(batch["x"], batch["index"], self.masks)

    def fingerprint(self, dated: bool = True) -> str:
        digest = blake2b(self.photos.fingerprint(dated).encode(), digest_size=16)
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


def _photo(name: str) -> str:
    return f"images/{name}.jpg"


def _mask(name: str) -> str:
    return f"annotations/trimaps/{name}.png"
