"""The law that every data module keeps: what a batch holds, which items are whose, and what happens to a bad one.

A batch is a dict {"x", "index": int64 (N,), and "y": int64 (N,) where labelled}. Of one modality x is the tensor, of
several it is a dict of them: pictures uint8 (N, 3, S, S), "rgb" uint8 (N, 3, W, S, S), "grey" with 1 and "flow" with 2
channels, "audio" int16 (N, 1, L), "text" uint8 (N, 1, L), bytes of UTF-8 filled up with 0. S is the canvas, a square a
little larger than the crop that the host takes on the device. The index counts a split's items in order, the validation
share of "train" included, so that (split, index) names an item for ever. Where an item has several labels, "y" is int8
(N, K) of 1 present, 0 absent and -1 not to be judged; where every pixel has one, uint8 (N, S, S) with 255 for those
that are not to be judged.

Several processes that train have each its own batches, of one size. Validation, test and prediction deal the batches
of one process to them in turn; a batch with a true "spare" is another rank's and does not count.

Training, validation and test batches hold one row of an item: of a longer one a random part, or that in its centre.
`ordered`, for probing, may hold several parts of it, as consecutive rows that share their index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from datamodules.draws import chosen, held_out, shuffled
from datamodules.errors import DataError as DataError
from datamodules.errors import require
from datamodules.loader import Batch, InOrder, Shuffled, Source, place, training_plan
from datamodules.skipped import Skipped

Split = Literal["train", "test"]
HALVES = ("weights", "architecture")
"""What the two halves of a training set are for, where it is halved."""


class DataModule(LightningDataModule, ABC):
    """A data set for training, validation, test and probing.

    Args:
        batch_size: items per batch and process.
        val: share of the training set held out to validate the pretext task, the same for every seed.
        limit: use only so many items of the training set, a random choice that is the same for every seed.
        seed: of the order of training, and of nothing else.
        halves: train on two halves of the training set at once, see `Splitting`.
        per_class: train on the first so many items of each class alone, see `Splitting`.

    """

    shown: ClassVar[tuple[str, ...]] = ()
    """Options that say what of an item a network is shown ("canvas", "sampling.rate"). They belong to the network: who
    measures it on another set of data keeps them, and takes that set's own defaults for everything else."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _remembering(vars(cls)["__init__"]))  # noqa: B010  # mypy refuses a plain one

    def __init__(
        self,
        batch_size: int,
        val: float,
        limit: int | None,
        seed: int,
        halves: bool = False,
        per_class: int | None = None,
    ) -> None:
        super().__init__()
        require(self, batch_size >= 1, f"batch_size={batch_size}", "at least 1")
        require(self, 0 <= val < 1, f"val={val}", "a share from 0 to below 1")
        require(self, limit is None or limit >= 1, f"limit={limit}", "at least 1, or none at all")
        few = f"per_class={per_class}, halves={halves}"
        require(self, per_class is None or (per_class >= 1 and not halves), few, "at least 1 and no halves, or none")
        self.batch_size, self.val, self.limit, self.seed, self.halves = batch_size, val, limit, seed, halves
        self.per_class = per_class
        self._skipped = Skipped(self)
        self._sources: dict[Split, Source] = {}

    @property
    @abstractmethod
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty where unlabelled."""

    @property
    def skipped(self) -> dict[str, str]:
        """Files that could not be used so far, or only in part, by name, each with its cause."""
        return self._skipped.causes

    @property
    def file_side(self) -> int | None:
        """The shorter side, pixels, of the largest of a few training files before they are resized; None: no such."""
        return self._source("train").side()

    @abstractmethod
    def open(self, split: Split) -> Source:
        """Open a split, of "train" only what `limit` leaves of it; called once for each split, when it is needed.

        Raises:
            DataError: the data is missing, empty or not laid out as expected.

        """

    def setup(self, stage: str | None = None) -> None:
        self._source("test" if stage in ("test", "predict") else "train")
        self._skipped.write()

    def state_dict(self) -> dict[str, Any]:
        """Save nothing of its own; where a checkpoint is written the run has its folder, so the list can be written."""
        self._skipped.write()
        return {}

    def teardown(self, stage: str) -> None:
        """List what could not be read."""
        self._skipped.write()

    def train_dataloader(self) -> Iterable[Batch]:
        source, (train, val) = self._source("train"), self._division()
        if getattr(self.trainer, "overfit_batches", 0) > 0:  # Lightning asks for a fixed order then
            return InOrder(source, *_of_equal_batches(train, self.batch_size))
        # Not what Lightning tells a sampler: resumed with max_steps from the end of an epoch, that is one too many.
        clock = None if self.trainer is None else partial(getattr, self.trainer, "current_epoch")
        if self.halves:
            parts = zip(HALVES, halved(train, self), strict=True)
            loaders = {name: Shuffled(source, items, self.batch_size, self.seed, clock) for name, items in parts}
            return CombinedLoader(loaders, "min_size")  # of one length
        whole = torch.arange(len(source) - len(val))
        length = None if self.per_class is None else len(training_plan(whole, self.batch_size, *place()))
        return Shuffled(source, train, self.batch_size, self.seed, clock, length)

    def val_dataloader(self) -> Iterable[Any]:
        source, (_, val) = self._source("train"), self._division()
        # Folders come class by class: mixed, always alike, so that the first batches alone are a fair sample too.
        mixed = val[shuffled(len(val), "val order")]
        return InOrder(source, mixed, self.batch_size) if len(val) else iter(())  # Lightning warns at an empty list

    def test_dataloader(self) -> Iterable[Batch]:
        source = self._source("test")
        return InOrder(source, torch.arange(len(source)), self.batch_size)

    def predict_dataloader(self) -> Iterable[Batch]:
        return self.test_dataloader()

    def ordered(self, split: Split, items: int | None = None) -> Iterable[Batch]:
        """Go through a split in order, each item once; "train" includes the validation share; never shared by rank.

        Of more than `items` a random choice, always the same: the first ones would be of one class, where folders are.
        """
        require(self, items is None or items >= 1, f"items={items}", "at least 1, or none for all of them")
        source = self._source(split).cut("spread")
        return InOrder(source, chosen(len(source), items), max(1, self.batch_size // source.rows), whole=True)

    def fingerprint(self, split: Split) -> str:
        """Hash what `ordered(split)` yields: equal hashes promise equal batches, whatever the seed."""
        return self._source(split).fingerprint()

    def listed(self, split: Split) -> str:
        """Hash which items `ordered(split)` yields, and how: of files names and labels, so alike on every machine."""
        return self._source(split).fingerprint(dated=False)

    def _source(self, split: Split) -> Source:
        if split not in self._sources:
            require(self, split in ("train", "test"), f"split={split!r}", '"train" or "test"')
            self._sources[split] = self.open(split)
        return self._sources[split]

    def _class_of_each(self) -> Tensor:
        """Return the class of each item of the training set, (N,)."""
        y = self._source("train").y
        one = y is not None and y.ndim == 1
        require(self, one, f"per_class={self.per_class}", "items of one class each; leave per_class out here")
        assert y is not None
        return y

    def _division(self) -> tuple[Tensor, Tensor]:
        """Split the positions of the training set into those to train on and those to validate on, both sorted."""
        n = len(self._source("train"))
        held, kept = held_out(n, self.val, "val")
        require(self, len(kept) > 0, f"val={self.val} of {n} items", "some items left to train on")
        if self.per_class is not None:
            kept = kept[firsts(self._class_of_each()[kept], self.per_class)]
        return kept, held


def _remembering(begin: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor note in `built_with` what it was given, so that a result or a config can say it."""

    @wraps(begin)
    def noting(self: DataModule, *args: Any, **options: Any) -> None:
        self.__dict__.setdefault("built_with", partial(type(self), *args, **options))
        begin(self, *args, **options)

    return noting


def halved(items: Tensor, asker: object) -> tuple[Tensor, Tensor]:
    """Split items into two halves of one size, sorted, the same for every seed; of an odd number one is left out."""
    count = len(items) // 2
    require(asker, count > 0, f"halves of {len(items)} training items", "two or more")
    order = shuffled(len(items), "halves")
    return items[order[:count].sort().values], items[order[count : 2 * count].sort().values]


def firsts(labels: Tensor, count: int) -> Tensor:
    """Find the first `count` items of each class, or all that it has, among labels (N,): sorted positions."""
    order = labels.argsort(stable=True)
    number = labels[order]
    place_in_class = torch.arange(len(labels)) - torch.searchsorted(number, number)
    return order[place_in_class < count].sort().values


def _of_equal_batches(items: Tensor, batch_size: int) -> tuple[Tensor, int]:
    """Leave out the last items and lower the batch size, so that several ranks have as many batches, of one size."""
    ranks = place()[1]
    if ranks == 1:
        return items, batch_size
    size = max(1, min(batch_size, len(items) // ranks))
    return items[: len(items) - len(items) % (size * ranks)], size
