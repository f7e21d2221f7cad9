"""Photos with whatever belongs to each: depth, normals, masks, poses, in a folder beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple, final

import torch
from torch import Tensor

from datamodules.base import DataModule, Split
from datamodules.errors import DataError, require
from datamodules.file_source import FileSource
from datamodules.images.canvases import CACHE, MAX_PIXELS, Cache, Canvases, Decoding
from datamodules.images.decode import SUFFIXES as PHOTOS
from datamodules.images.nvjpeg import chosen_decoder
from datamodules.images.pets import Masked
from datamodules.images.targets import SUFFIXES, Kind, Targets, read_target
from datamodules.listing import Listing, Splits, check_root, scan, subfolders
from datamodules.loader import Source
from datamodules.options import READING, Reading, Splitting, disk_of
from datamodules.split_folders import split_folders

_FIFTH = Splitting(test=0.2)


class Pair(NamedTuple):
    """Paths from the root."""

    photo: str
    target: str


@final
class PairedFiles(DataModule):
    """Photos in one folder and what belongs to them in another, under the same names.

    `root/<inputs>/<name>.jpg` and `root/<targets>/<name>.png` (at any depth), or both below `root/train` and
    `root/test`; without a test folder a fixed share of the pairs is held out for the test. In batches y is

    - with `classes`, uint8 (N, canvas, canvas) of PNG or NPY files (H, W); 255 is not judged. `Segmentation` reads it;
    - float32 (N, C, canvas, canvas) of NPY files (H, W) or (C, H, W), or of grey PNG files of 8 or 16 bits, as they
      are; NaN is not known;
    - float32 (N, V) of NPY files (V,) or text files of V numbers.

    Photo and map are cut to the same square, the centre; the photo is resized as all photos are, the map by taking
    the pixel nearest to each centre, so that it holds no value that was not there. All targets are decoded when a split
    is opened, and kept in memory. A pair is no item, and listed as skipped with its cause, where the target cannot be
    read, has another shape than the first one, or does not fit its photo.

    Args:
        root: the folder.
        targets: name of the targets' folder.
        classes: names of the classes, in the order of their numbers, where targets are class maps; none: numbers.
        inputs: name of the photos' folder.
        canvas: side of the square that photos and maps are resized to, pixels.
        batch_size: items per batch and process.
        cache: bytes of canvases up to which photos, once decoded, are kept in memory; see `ImageFolder`.
        max_pixels: a file with more pixels counts as one that cannot be used; it is never decoded.
        reading: how files are read; `max_bad` counts pairs.
        split: which pairs are for what.
        seed: of the order of training.
        cache_gb: gigabytes that a folder as `cache` may hold.

    """

    def __init__(
        self,
        root: str | Path,
        targets: str = "targets",
        classes: list[str] | None = None,
        inputs: str = "images",
        canvas: int = 128,
        batch_size: int = 64,
        cache: Cache = CACHE,
        max_pixels: int = MAX_PIXELS,
        reading: Reading = READING,
        split: Splitting = _FIFTH,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        require(self, classes is None or len(classes) > 1, f"classes={classes}", "the names of two or more, or none")
        kind: Kind = "numbers" if classes is None else "classes"
        self.root, self.cache, self.how = Path(root).expanduser(), cache, Decoding(canvas, max_pixels)
        self.inputs, self.targets, self.kind, self.names = inputs, targets, kind, classes or []
        self.test, self.reading, self.disk = split.test_share(self), reading, disk_of(cache, cache_gb)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return list(self.names)

    def open(self, split: Split) -> Source:
        pairs = self._pairs[split]
        pairs, targets = self._targets(pairs)
        keep = self.how.room(len(pairs), len(pairs), self.cache)
        files = [pair.photo for pair in pairs]
        photos = FileSource(
            self.root, files, None, Canvases(self.how), self.reading, self._skipped.add, keep, self.disk
        )
        return Masked(chosen_decoder(photos, self.reading), targets)

    @cached_property
    def _pairs(self) -> dict[Split, list[Pair]]:
        """What there is to train on, what to test on."""
        check_root(self.root)
        found = split_folders(subfolders(self.root))
        train = self._in(found.train or "")
        test = None if found.train is None or found.test is None else Listing(list(self._in(found.test)), None)
        both = train | ({} if test is None else self._in(str(found.test)))
        _, one, other = Splits([], Listing(list(train), None), test).settled(self.test, self.limit)
        if not other.names:
            raise DataError(f"the test set in {self.root} is empty; make its share larger, or add a folder test")
        return {"train": [both[name] for name in one.names], "test": [both[name] for name in other.names]}

    def _in(self, folder: str) -> dict[str, Pair]:
        """Pair the files of a folder by the names of the photos; who has no partner is left out."""
        places = [str(PurePath(folder) / name) for name in (self.inputs, self.targets)]
        for place in places:
            if not (self.root / place).is_dir():
                raise DataError(
                    f"there is no folder {self.root / place}; PairedFiles wants the photos in {self.inputs} "
                    f"and what belongs to them in {self.targets}"
                )
        photos, targets = (
            {str(PurePath(name).relative_to(place).with_suffix("")): name for name in scan(self.root, place, suffixes)}
            for place, suffixes in zip(places, (PHOTOS, SUFFIXES[self.kind]), strict=True)
        )
        pairs = {photos[name]: Pair(photos[name], targets[name]) for name in photos if name in targets}
        if not pairs:
            raise DataError(
                f"no photo in {self.root / places[0]} ({len(photos)} files) has a target of its name in "
                f"{self.root / places[1]} ({len(targets)} files of {', '.join(SUFFIXES[self.kind])})"
            )
        return pairs

    def _targets(self, pairs: Sequence[Pair]) -> tuple[list[Pair], Tensor]:
        """Decode targets; leave out pairs that cannot be used."""
        photos = {(self.root / pair.target).resolve(): self.root / pair.photo for pair in pairs}
        decoder = Targets(self.how, self.kind, photos, self._row, len(self.names))
        names = [pair.target for pair in pairs]
        source = FileSource(self.root, names, None, decoder, self.reading, self._skipped.add)
        batches = list(source.read(torch.split(torch.arange(len(pairs)), self.batch_size)))
        require(self, len(batches) > 0, f"max_bad={self.reading.max_bad:g}", f"one pair at least in {self.root}")
        kept = torch.cat([batch["index"] for batch in batches])
        return [pairs[k] for k in kept.tolist()], torch.cat([batch["x"] for batch in batches])

    @cached_property
    def _row(self) -> tuple[int, ...]:
        """Find the shape of a target on the canvas: that of the first of all that can be read."""
        causes = []
        for pair in (pair for split in self._pairs.values() for pair in split):
            try:
                return tuple(read_target(self.root / pair.target, self.root / pair.photo, self.kind, self.how).shape)
            except Exception as error:
                causes.append(f"{pair.target}: {error}")
        raise DataError(f"no target in {self.root} can be read as {self.kind}; {causes[0]}")
