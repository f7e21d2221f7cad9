"""Photos with captions: pictures and texts of one item, for what trains on both."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from datamodules.base import DataModule, Split
from datamodules.draws import uniform
from datamodules.errors import DataError, require
from datamodules.images.canvases import CACHE, MAX_PIXELS, Cache, Decoding, open_files
from datamodules.images.nvjpeg import chosen_decoder
from datamodules.listing import Listing, Splits, check_root
from datamodules.loader import Batch, Pick, Source, batch_of
from datamodules.options import READING, Reading, Splitting, disk_of

FILES = ("captions.csv", "captions.jsonl")
SPLITS = ("train", "test")
_FIFTH = Splitting(test=0.2)


@dataclass
class Item:
    """What a captions file says of a photo."""

    texts: list[str] = field(default_factory=list)
    name: str = ""
    """Its class, "" for none."""
    split: str = ""
    """"train" or "test", "" where nothing is laid down."""


@final
class Captions(DataModule):
    """Photos of a folder with captions from a file; a batch's x is {"rgb": photos, "text": bytes}.

    The file is `captions.csv` with the columns `file` and `caption`, a row for each caption, or `captions.jsonl` with
    an object a line, {"file": ..., "caption": ...} or {"file": ..., "captions": [...]}. Files are named from the root.
    A photo may have several captions: in training one is drawn anew in each epoch, by (seed, epoch, item); otherwise
    the first one counts. `class` beside them labels the photos, if it does so for all of them, and `split` (train or
    test) lays the test set down; without it a fixed share is held out. Photos that the file does not name are left out.

    Texts are uint8 (N, 1, length), their bytes in UTF-8, filled up with 0; longer ones end before the first letter that
    does not fit. Networks find the words themselves. Photos are treated as by `ImageFolder`.

    Args:
        root: the folder.
        captions: the file, from the root; none: the first of captions.csv and captions.jsonl that is there.
        length: bytes of a text.
        canvas: side of the square that photos are resized to, pixels; a little more than the crop.
        batch_size: items per batch and process.
        cache: bytes of canvases up to which photos, once decoded, are kept in memory; see `ImageFolder`.
        max_pixels: a file with more pixels counts as one that cannot be used; it is never decoded.
        reading: how files are read.
        split: which items are for what; `test` has no effect where the file lays the test set down.
        seed: of the order of training, and of which caption is drawn.
        cache_gb: gigabytes that a folder as `cache` may hold.

    """

    shown = ("canvas", "length")

    def __init__(
        self,
        root: str | Path,
        captions: str | None = None,
        length: int = 128,
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
        require(self, length >= 1, f"length={length}", "at least 1")
        self.root, self.captions, self.length = Path(root).expanduser(), captions, length
        self.cache, self.how, self.reading = cache, Decoding(canvas, max_pixels), reading
        self.test, self.disk = split.test_share(self), disk_of(cache, cache_gb)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return self._files[0]

    def open(self, split: Split) -> Source:
        both, told = self._files[1:], self._skipped.add
        files = open_files(self.root, split, both, self.how, self.cache, self.reading, self.disk, told)
        labels, files.y = files.y, None
        texts = [self._items[name].texts for name in files.names]
        return Captioned(chosen_decoder(files, self.reading), texts, labels, self.length)

    @cached_property
    def _items(self) -> dict[str, Item]:
        """What the file says, by photo."""
        check_root(self.root)
        names = FILES if self.captions is None else (self.captions,)
        file = next((self.root / name for name in names if (self.root / name).is_file()), None)
        if file is None:
            raise DataError(f"there is no {' or '.join(names)} in {self.root}; Captions wants one, see its description")
        return read_captions(file)

    @cached_property
    def _files(self) -> tuple[list[str], Listing, Listing]:
        """The classes, what there is to train on, what to test on."""
        items = self._items
        labelled, laid_down = (all(getattr(item, part) for item in items.values()) for part in ("name", "split"))
        classes = sorted({item.name for item in items.values()}) if labelled else []

        def listing(split: str | None) -> Listing:
            names = [name for name, item in items.items() if split in (None, item.split)]
            return Listing(names, [classes.index(items[name].name) for name in names] if labelled else None)

        splits = [listing(split) for split in SPLITS] if laid_down else [listing(None), None]
        train, test = splits
        assert train is not None
        return Splits(classes, train, test).settled(self.test, self.limit)


@final
class Captioned(Source):
    """Photos with their texts: a source of photos whose batches get "text", uint8 (N, 1, length)."""

    def __init__(self, photos: Source, texts: Sequence[Sequence[str]], y: Tensor | None, length: int) -> None:
        self.photos, self.texts, self.y, self.length = photos, texts, y, length
        self.pick: Pick = "centre"

    def __len__(self) -> int:
        return len(self.photos)

    def cut(self, pick: Pick) -> Captioned:
        twin = copy.copy(self)
        twin.photos, twin.pick = self.photos.cut(pick), pick
        return twin

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for batch in self.photos.read(plan, pool):
            told = text_bytes([self._drawn(item) for item in batch["index"].tolist()], self.length)
            more = batch_of(told, batch["index"], self.y)
            yield {**more, "x": {"rgb": batch["x"], "text": more["x"]}}

    def fingerprint(self, dated: bool = True) -> str:
        digest = blake2b(self.photos.fingerprint(dated).encode(), digest_size=16)
        digest.update(repr((self.length, self.texts, None if self.y is None else self.y.tolist())).encode())
        return digest.hexdigest()

    def _drawn(self, item: int) -> str:
        """Choose a caption: in training by chance, else the first."""
        texts = self.texts[item]
        if isinstance(self.pick, str):
            return texts[0]
        return texts[int(uniform("caption", *self.pick, item) * len(texts))]


def text_bytes(texts: Sequence[str], length: int) -> Tensor:
    """Write texts as bytes of UTF-8, uint8 (N, 1, length), filled up with 0."""
    rows = torch.zeros(len(texts), 1, length, dtype=torch.uint8)
    for row, text in zip(rows[:, 0], texts, strict=True):
        kept = text.encode()[:length].decode(errors="ignore").encode()
        row[: len(kept)] = torch.tensor(list(kept), dtype=torch.uint8)
    return rows


def read_captions(file: Path) -> dict[str, Item]:
    """Read a captions file: what it says of each photo, in the order of the file.

    Raises:
        DataError: a line without a file or a caption, two classes or splits of one photo, another word for a split, no
            line at all. The message names file and line.

    """
    items: dict[str, Item] = {}
    for number, row in _csv(file) if file.suffix == ".csv" else _json_lines(file):
        texts = [text for text in (row.get("captions") or [row.get("caption")]) if text]
        if not row.get("file") or not texts:
            raise DataError(f"{file}, line {number}: wants a file and a caption, got {dict(row)}")
        item = items.setdefault(str(row["file"]), Item())
        item.texts += map(str, texts)
        for part, value in (("name", row.get("class")), ("split", row.get("split"))):
            said, known = str(value or ""), getattr(item, part)
            if known and said != known:
                raise DataError(f"{file}, line {number}: {row['file']} was {known!r} and is {said!r} now")
            setattr(item, part, said)
        if item.split not in ("", *SPLITS):
            raise DataError(f"{file}, line {number}: the split is {item.split!r}; write train or test, or nothing")
    if not items:
        raise DataError(f"{file} names no photo")
    return items


def _csv(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if not {"file", "caption"} <= set(reader.fieldnames or ()):
            raise DataError(f"{file} wants the columns file and caption, its header is {reader.fieldnames}")
        for row in reader:
            yield reader.line_num, row


def _json_lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: wants an object, got a {type(row).__name__}")
        yield number, row
