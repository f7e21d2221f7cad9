"""Two domains at once: a labelled source and an unlabelled target, half a batch of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from datamodules.base import DataModule, Split, halved
from datamodules.draws import chosen, shuffled, uniform
from datamodules.errors import DataError, require
from datamodules.images.folders import ImageFolder
from datamodules.images.variants import VARIANTS, Variant, varied
from datamodules.loader import Batch, InOrder, Pick, Shuffled, Source, place
from datamodules.options import SPLITTING, Splitting

DomainName = Literal["source", "target"]
DOMAINS: tuple[DomainName, DomainName] = ("source", "target")


@final
class Pairs(DataModule):
    """Join two data modules for domain adaptation; what belongs to a domain says so in its batches' "domain".

    Training yields {"source": batch, "target": batch}, half a batch each, and the target's has no "y". The shorter set
    repeats, each time in another order. Validation yields batches of the source's validation items with their labels,
    then of the target's without; the test those of the source's test set and of the target's, both with labels.
    Whatever reads one set, such as a probe, reads the target.

    Args:
        source: a data module, or a folder, which stands for `datamodules.ImageFolder` of it.
        target: likewise, with the same classes or without labels; none: the source itself, changed as `variant` says.
            Then source and target train on two halves of the same training set, so that no picture is in both.
        variant: change the target's pictures: "grey", "negative", "edges", "jpeg", "blur" or "night".
        labelled: "source"; "target" puts the target's labelled items in the place of the source's, which is what
            adaptation is to be compared with at best (train on target).
        canvas: side of the square that the pictures of folders are resized to, pixels.
        batch_size: items of both domains together, per process; even.
        split: which files of a folder are for what; data modules have their own.
        seed: of the order of training.

    Raises:
        DataError: no target and no variant, an odd batch size; later, other classes in the target than in the source.

    """

    shown = ("canvas",)

    def __init__(
        self,
        source: DataModule | str | Path,
        target: DataModule | str | Path | None = None,
        variant: Variant | None = None,
        labelled: DomainName = "source",
        canvas: int = 32,
        batch_size: int = 64,
        split: Splitting = SPLITTING,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed)
        split.refuse_folds(self)
        require(self, not split.halves, "halves=True", "no halves: each domain is half of a batch already")
        require(self, batch_size % 2 == 0, f"batch_size={batch_size}", "an even number, of which each domain has half")
        require(self, variant in (None, *VARIANTS), f"variant={variant!r}", f"one of {', '.join(VARIANTS)}")
        given = target is not None or variant is not None
        require(self, given, "no target", "a target, or a variant of the source (such as variant: night)")
        require(self, labelled in DOMAINS, f"labelled={labelled!r}", '"source" or "target"')
        self.variant, self.labelled = variant, labelled
        self.source = _opened(source, canvas, split)
        self.target = self.source if target is None else _opened(target, canvas, split)

    @property
    def classes(self) -> list[str]:
        mine, theirs = self.source.classes, self.target.classes
        if theirs and not mine:
            raise DataError("Pairs: the source has no labels; give one with a folder for each class")
        if theirs and mine != theirs:
            raise DataError(
                f"Pairs: the source has {_counted(mine)}, the target {_counted(theirs)}; give both the same, "
                "or a target without labels (datamodules.Photos)"
            )
        return mine

    @property
    def skipped(self) -> dict[str, str]:
        return self.source.skipped | self.target.skipped

    def prepare_data(self) -> None:
        for data in (self.source, self.target):
            data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for data in (self.source, self.target):
            data.trainer = self.trainer  # in whose folder they list what they could not read
            data.setup(stage)

    def open(self, split: Split) -> Source:
        return Domain(self.target._source(split), Look("target", self.variant))

    def train_dataloader(self) -> Iterable[Any]:
        clock = None if self.trainer is None else partial(getattr, self.trainer, "current_epoch")
        mine, theirs = self._training()
        size = self.batch_size // 2
        batches = max(1, max(len(mine.items), len(theirs.items)) // place()[1] // size)
        seeds = (self.seed, int(uniform(self.seed, "target") * 2**31))  # or pictures of one name would meet
        loaders = {
            name: Shuffled(part.source, part.items, size, seed, clock, batches)
            for name, part, seed in zip(DOMAINS, (mine, theirs), seeds, strict=True)
        }
        return CombinedLoader(loaders, "min_size")  # of one length

    def val_dataloader(self) -> Iterable[Batch]:
        mine, theirs = self._held()
        return InTurn([InOrder(part.source, part.items, self.batch_size) for part in (mine, theirs) if len(part.items)])

    def test_dataloader(self) -> Iterable[Batch]:
        sets = [self._domain(name, "test", labels=True, role=name) for name in DOMAINS]
        return InTurn([InOrder(source, torch.arange(len(source)), self.batch_size) for source in sets])

    def predict_dataloader(self) -> Iterable[Batch]:
        return super().test_dataloader()

    def both(self, items: int | None = None) -> Iterable[Batch]:
        """Go through what training sees, the labelled source and then the unlabelled target, each item once.

        Of more than `items` of a domain a random choice, always the same; never shared by rank.
        """
        parts = self._training()
        picks = [part.items[chosen(len(part.items), items)] for part in parts]
        return InTurn(
            [InOrder(part.source, k, self.batch_size, whole=True) for part, k in zip(parts, picks, strict=True)]
        )

    def _training(self) -> tuple[Part, Part]:
        """Return what the source's place and the target's train on."""
        split: dict[DomainName, Tensor] = {name: self._of(name)._division()[0] for name in DOMAINS}
        if self.target is self.source:
            split = dict(zip(DOMAINS, halved(split["source"], self), strict=True))
        return self._parts(split)

    def _held(self) -> tuple[Part, Part]:
        """Return what both are validated on, in an order that mixes classes."""
        held = {name: self._of(name)._division()[1] for name in DOMAINS}
        return self._parts({name: items[shuffled(len(items), "val order")] for name, items in held.items()})

    def _parts(self, items: dict[DomainName, Tensor]) -> tuple[Part, Part]:
        mine = Part(self._domain(self.labelled, "train", labels=True, role="source"), items[self.labelled])
        return mine, Part(self._domain("target", "train", labels=False, role="target"), items["target"])

    def _domain(self, name: DomainName, split: Split, labels: bool, role: DomainName) -> Source:
        look = Look(role, self.variant if name == "target" else None, labels)
        return Domain(self._of(name)._source(split), look)

    def _of(self, name: DomainName) -> DataModule:
        return self.source if name == "source" else self.target


class Part(NamedTuple):
    """A source, and sorted positions in it."""

    source: Source
    items: Tensor


class Look(NamedTuple):
    """How a domain is shown."""

    role: DomainName
    variant: Variant | None = None
    labels: bool = True


@final
class Domain(Source):
    """The items of a domain: marked with its name, perhaps changed, perhaps without their labels."""

    def __init__(self, source: Source, look: Look) -> None:
        self.source, self.look, self.rows = source, look, source.rows

    def __len__(self) -> int:
        return len(self.source)

    def cut(self, pick: Pick) -> Domain:
        return Domain(self.source.cut(pick), self.look)

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for batch in self.source.read(plan, pool):
            kept = {name: part for name, part in batch.items() if name != "y" or self.look.labels}
            if self.look.variant is not None:
                kept["x"] = varied(_pictures(batch["x"]), self.look.variant, batch["index"])
            yield {**kept, "domain": self.look.role}

    def fingerprint(self, dated: bool = True) -> str:
        inside = self.source.fingerprint(dated)
        variant = self.look.variant
        return inside if variant is None else blake2b(f"{variant} {inside}".encode(), digest_size=16).hexdigest()


@final
class InTurn:
    """Loaders, one after the other."""

    def __init__(self, loaders: Sequence[InOrder]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(map(len, self.loaders))

    def __iter__(self) -> Iterator[Batch]:
        for loader in self.loaders:
            yield from loader


def _counted(classes: Sequence[str]) -> str:
    """Say how many classes there are, and name the first ones."""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{' ...' if len(classes) > 3 else ''})"


def _opened(data: DataModule | str | Path, canvas: int, split: Splitting) -> DataModule:
    if isinstance(data, DataModule):
        return data
    return ImageFolder(data, canvas=canvas, split=split)


def _pictures(x: Any) -> Tensor:
    if not (isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] == 3 and x.dtype == torch.uint8):
        got = ", ".join(x) if isinstance(x, dict) else tuple(x.shape)
        raise DataError(f"Pairs: a variant changes pictures (N, 3, H, W), but the target has {got}; leave it out")
    return x
