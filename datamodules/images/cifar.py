"""CIFAR-10: 60,000 tiny photos, in torchvision's own files or unpacked into folders."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import final

import torch
from torchvision import datasets

from datamodules.base import DataModule, Split
from datamodules.draws import chosen
from datamodules.errors import DataError
from datamodules.images.canvases import Decoding, open_files
from datamodules.images.folders import labelled_splits
from datamodules.listing import Listing
from datamodules.loader import Memory, Source
from datamodules.options import DISK, SPLITTING, Reading, Splitting

_SIDE = 32  # pixels


@final
class CIFAR10(DataModule):
    """50,000 train and 10,000 test photos of 10 classes, 32 x 32 RGB, in memory (Krizhevsky, 2009).

    Args:
        root: the folder that holds `cifar-10-batches-py` (torchvision's files) or `{train,test}/<class>/*.jpg`.
        download: let torchvision download its files into `root` where neither is there (170 MB).
        batch_size: items per batch and process.
        split: which photos are for what; the test set is laid down.
        seed: of the order of training.

    """

    def __init__(
        self,
        root: str | Path,
        download: bool = False,
        batch_size: int = 128,
        split: Splitting = SPLITTING,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        self.root, self.download = Path(root).expanduser(), download

    @property
    def classes(self) -> list[str]:
        return self._folders[0] if self._in_folders else list(self._official(train=False).classes)

    def prepare_data(self) -> None:
        if not self._in_folders:
            self._official(train=False)  # downloads on one process, before the others look

    def open(self, split: Split) -> Source:
        if self._in_folders:
            both, reading = self._folders[1:], Reading(max_bad=0)
            return open_files(self.root, split, both, Decoding(_SIDE), "memory", reading, DISK, self._skipped.add)
        data = self._official(train=split == "train")
        x, y = torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets)
        items = chosen(len(x), self.limit if split == "train" else None)
        return Memory(x[items].contiguous(), y[items])

    @property
    def _in_folders(self) -> bool:
        return (self.root / "train").is_dir()

    @cached_property
    def _folders(self) -> tuple[list[str], Listing, Listing]:
        splits = labelled_splits(self.root)
        if splits.test is None:
            raise DataError(f"{self.root} has a folder train, but none named test")
        return splits.settled(0, self.limit)

    def _official(self, train: bool) -> datasets.CIFAR10:
        try:
            return datasets.CIFAR10(self.root, train=train, download=self.download)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{self.root} holds no train/<class>/*.jpg, and no complete {datasets.CIFAR10.base_folder} ({error}); "
                "name the folder that does, or set download"
            ) from error
