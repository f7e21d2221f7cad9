"""Pictures without end, drawn by a generator: nothing is read and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from hashlib import blake2b
from typing import Protocol, cast, final, runtime_checkable

import torch
from torch import Generator, Tensor

from datamodules.base import DataModule, Split
from datamodules.draws import chosen, number
from datamodules.errors import DataError, require
from datamodules.loader import Batch, Pick, Source, batch_of
from datamodules.options import SPLITTING, Splitting

_FIRST = 64  # pictures that a fingerprint looks at


@runtime_checkable
class Draws(Protocol):
    """What draws latents (N, D) and makes pictures (N, 3, S, S) in [0, 1] of them.

    With `classes` (names) and `labels(latents) -> (N,)` the pictures are labelled.
    """

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents by nothing but `generator`."""

    def decode(self, latents: Tensor) -> Tensor:
        """Make a picture of each."""


@final
class Generated(DataModule):
    """Pictures that a generator draws, other ones in every epoch, each by its own key.

    A picture is decided by `content`, the split, the epoch and its position alone, whatever the seed, the batch and the
    number of processes; training, validation and test never share one. Its index counts on over the epochs. What
    `ordered` yields, and validation, are the pictures of the first epoch. With `split.limit`, there are only so many,
    the same in every epoch, as in a folder.

    Everything is drawn on the processor, in the training process. Pictures are square, and kept to a level of 255.

    Args:
        generator: draws latents and decodes them, such as `pretext.Shapes`; with `classes` and `labels` there are
            labels.
        train_items: training pictures of an epoch.
        test_items: test pictures.
        content: another number draws other pictures.
        batch_size: items per batch and process.
        split: which items are for what; the test set is laid down.
        seed: of the order of training.

    """

    def __init__(
        self,
        generator: Draws,
        train_items: int = 10_000,
        test_items: int = 2_000,
        content: int = 0,
        batch_size: int = 64,
        split: Splitting = SPLITTING,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        require(
            self,
            min(train_items, test_items) >= 1,
            f"train_items={train_items}, test_items={test_items}",
            "at least 1 of each",
        )
        self.generator, self.train_items, self.test_items, self.content = generator, train_items, test_items, content

    @property
    def classes(self) -> list[str]:
        return list(getattr(self.generator, "classes", [])) if hasattr(self.generator, "labels") else []

    def open(self, split: Split) -> Source:
        train = split == "train"
        count = self.train_items if train else self.test_items
        positions = chosen(count, self.limit if train else None)
        endless = train and self.limit is None
        return _Drawn(self.generator, (self.content, split), positions, endless, bool(self.classes))


class _Drawn(Source):
    """The pictures of one split, drawn when they are read."""

    def __init__(
        self, generator: Draws, key: tuple[int | str, ...], positions: Tensor, endless: bool, labelled: bool
    ) -> None:
        self.generator, self.key, self.positions = generator, key, positions
        self.endless, self.labelled, self.epoch = endless, labelled, 0

    def cut(self, pick: Pick) -> Source:
        if isinstance(pick, str) or not self.endless:
            return self
        twin = copy(self)
        twin.epoch = pick[1]
        return twin

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for positions in plan:
            x, y = self._drawn(positions)
            yield batch_of(x, positions + self.epoch * len(self), None) | ({} if y is None else {"y": y})

    def fingerprint(self, dated: bool = True) -> str:
        x, _ = self._drawn(torch.arange(min(_FIRST, len(self))))
        digest = blake2b(repr((self.key, self.endless, self.labelled, tuple(x.shape))).encode(), digest_size=16)
        digest.update(self.positions.numpy().tobytes())
        digest.update(x.numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def _drawn(self, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Draw the pictures at some positions, uint8 (N, 3, S, S), and their labels.

        Raises:
            DataError: the generator makes something else.

        """
        keys = [number((*self.key, "generated", self.epoch, int(self.positions[k]))) >> 1 for k in positions]
        latents = torch.cat([self.generator.sample(1, Generator().manual_seed(key)) for key in keys])
        pictures, name = self.generator.decode(latents), type(self.generator).__name__
        shape = tuple(pictures.shape)
        if len(shape) != 4 or shape[:2] != (len(keys), 3) or shape[2] != shape[3]:
            raise DataError(f"Generated: {name} made {shape} of {len(keys)} latents, but has to make (N, 3, S, S)")
        low, high = pictures.aminmax()
        if not (low >= 0 and high <= 1):  # also where one is NaN
            raise DataError(
                f"Generated: {name} made pixels from {low:.4g} to {high:.4g}, but wanted are RGB in [0, 1]; look at "
                "its weights and its last layer"
            )
        labels = cast("_Labels", self.generator).labels(latents).long() if self.labelled else None
        return (pictures * 255).round().to(torch.uint8), labels


class _Labels(Protocol):
    def labels(self, latents: Tensor) -> Tensor: ...
