"""Data of a user's own: plain loaders, and data modules that know nothing of this package."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, Literal, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretext.core.built import Built, Noted
from pretext.core.errors import require
from pretext.training.batches import numbers_of
from pretext.training.in_order import Dealt, InOrder, Numbered, counted
from pretext.training.resumable import resumable

Split = Literal["train", "test"]
BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
HOOKS = ("state_dict", "load_state_dict", "teardown", "on_exception")
CONTAINERS = ("torch", "pytorch_lightning", "lightning", "builtins")
"""Packages of which a class of data says nothing of the data."""
WANTED = "give a DataLoader, a LightningDataModule, or pretext.Loaders(train, val, test)"


class _Own(Built, pl.LightningDataModule, ABC):
    """What training and probing want of a data module, from loaders alone."""

    seed = 0
    """Of the order of training; `fit` sets it."""
    raw = False
    """Do hooks on batches want what a loader makes?"""

    @abstractmethod
    def loader(self, split: Literal["train", "val", "test"]) -> Any:
        """Return what yields the batches of a split, or None."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes; where the data set does not say them, the numbers. Empty where there are none."""
        named = getattr(getattr(self.loader("train"), "dataset", None), "classes", None)
        names = isinstance(named, Sequence) and not isinstance(named, str)  # others say how many, for one
        return [str(name) for name in named] if names and named else self._numbers

    @property
    def called(self) -> str | None:
        """The class of the data set, of a subset's own; None where it tells nothing of the data."""
        held = getattr(self.loader("train"), "dataset", None)
        while held is not None and not _tells(type(held)):
            held = getattr(held, "dataset", None)  # such as of a Subset
        return None if held is None else type(held).__name__

    @cached_property
    def _numbers(self) -> list[str]:
        labels = [batch["y"] for batch in self.ordered("train") if "y" in batch]
        return numbers_of(labels, self)

    def train_dataloader(self) -> Any:
        loader = self._needed("train")
        if getattr(self.trainer, "overfit_batches", 0) > 0:  # Lightning puts it in order then
            return loader
        clock = None if self.trainer is None else partial(getattr, self.trainer, "current_epoch")
        return resumable(loader, self.seed, clock)

    def val_dataloader(self) -> Any:
        loader = self.loader("val")
        return iter(()) if loader is None else self._dealt(loader)  # Lightning warns at an empty list

    def test_dataloader(self) -> Any:
        return self._dealt(self._needed("test"))

    def predict_dataloader(self) -> Any:
        return self.test_dataloader()

    def _dealt(self, loader: Any) -> Dealt:
        several = isinstance(loader, Mapping) or (isinstance(loader, list | tuple) and _loaders(loader))
        require(not several, self, "several loaders to evaluate on", "give one; ConcatDataset joins data sets")
        return Dealt(loader, self.raw)

    def ordered(self, split: Split, items: int | None = None) -> Iterable[dict[str, Any]]:
        """Go through a split, each item once, in the data set's own order where there is one, as `InOrder` does."""
        return InOrder(self._needed(split), items)

    def fingerprint(self, split: Split) -> str:
        """Hash all that `ordered(split)` yields; goes through it once."""
        if split not in self._prints:
            digest = blake2b(digest_size=16)
            for batch in self.ordered(split):
                for part in (*_leaves(batch["x"]), *_leaves(batch.get("y"))):
                    digest.update(repr((part.dtype, tuple(part.shape))).encode())
                    digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().data)
            self._prints[split] = digest.hexdigest()
        return self._prints[split]

    @cached_property
    def _prints(self) -> dict[str, str]:
        return {}

    def _needed(self, split: Literal["train", "test"]) -> Any:
        found = self.loader(split)
        found = self.loader("val") if found is None and split == "test" else found
        require(
            found is not None, self, f"no {split} data", f"give {split}=DataLoader(...), or define {split}_dataloader"
        )
        return found


@final
class Loaders(_Own):
    """Plain loaders as a data module: of tensors x, pairs (x, y) or dicts {"x", "y"}.

    x is uint8 or float in [0, 1], (N, 3, H, W), clips (N, 3, T, H, W), sounds (N, 1, L) as int16 or float in [-1, 1],
    or a dict of these by modality. A DataLoader is trained on in an order that follows from the run's seed if it
    shuffles, and evaluated in the data set's own; others come as they are.

    Args:
        train: what to train on, such as a `torch.utils.data.DataLoader`.
        val: what to validate the pretext task on.
        test: what probes are tested on; none: `val`.

    Raises:
        ValueError: something else than batches, such as a tensor or a data set.

    """

    def __init__(self, train: Any, val: Any = None, test: Any = None) -> None:
        super().__init__()
        for name, loader in (("train", train), ("val", val), ("test", test)):
            if loader is not None:
                _check_loader(name, loader)
        self._loaders = {"train": train, "val": val, "test": test}

    def loader(self, split: Literal["train", "val", "test"]) -> Any:
        return self._loaders[split]


@final
class Adapted(_Own):
    """Any LightningDataModule, so that what it loads can be probed, and is dealt to several processes by whole batches.

    Args:
        module: the data module; its `test_dataloader` is what probes are tested on, without one its `val_dataloader`.
            Its hooks on batches are called in training and testing; probing takes what its loaders yield.

    """

    def __init__(self, module: pl.LightningDataModule) -> None:
        super().__init__()
        self.module = module
        self.prepare_data_per_node = module.prepare_data_per_node
        self._ready: set[str] = set()
        for hook in HOOKS:  # only where it is defined: Lightning asks the data before it asks the network
            if is_overridden(hook, module, pl.LightningDataModule):
                setattr(self, hook, getattr(module, hook))
        self.raw = any(is_overridden(hook, module, pl.LightningDataModule) for hook in BATCH_HOOKS)
        if self.raw:
            for hook in BATCH_HOOKS:
                setattr(self, hook, partial(_hooked, getattr(module, hook), hook == BATCH_HOOKS[-1]))

    @property
    def called(self) -> str | None:
        """The class of the module, if it tells something."""
        kind = type(self.module)
        return kind.__name__ if _tells(kind) else None

    def prepare_data(self) -> None:
        """Let the module prepare, once; of several processes Lightning asks one on each machine."""
        if "prepared" not in self._ready:
            self.module.prepare_data()
            self._ready.add("prepared")

    def loader(self, split: Literal["train", "val", "test"]) -> Any:
        return self._own("test" if split == "test" else "fit", f"{split}_dataloader")

    def predict_dataloader(self) -> Any:
        loader = self._own("predict", "predict_dataloader")
        return self.test_dataloader() if loader is None else self._dealt(loader)

    def ordered(self, split: Split, items: int | None = None) -> Iterable[dict[str, Any]]:
        if self.raw and "told" not in self._ready:
            self._ready.add("told")
            hooks = " and ".join(name for name in BATCH_HOOKS if is_overridden(name, self.module))
            rank_zero_warn(
                f"probing sees what the loaders of {type(self.module).__name__} yield: its {hooks} is for training and "
                "testing; what every look needs belongs into the data set or the collate_fn"
            )
        return super().ordered(split, items)

    def _own(self, stage: str, hook: str) -> Any:
        """Let the module get ready for a stage, and return what a hook of its own makes; None if it has none."""
        if not is_overridden(hook, self.module, pl.LightningDataModule):
            return None
        if stage not in self._ready:
            if self.trainer is None:
                self.prepare_data()
            self.module.trainer = self.trainer
            self.module.setup(stage)
            self._ready.add(stage)
        return getattr(self.module, hook)()


def built_of(data: object) -> partial[Any] | None:
    """Say what built data: its class and options, of a module of a user's own those that it saved; None: not known.

    Of options that a module did not save (`save_hyperparameters`) nothing is known.
    """
    if not isinstance(data, Adapted):
        return getattr(data, "built_with", None)
    kind, saved = type(data.module), dict(data.module.hparams)
    if isinstance(known := getattr(data.module, "built_with", None), partial):
        return known
    options = inspect.signature(kind).parameters
    return Noted(kind, **saved) if saved.keys() == options.keys() else None


def _hooked(hook: Callable[..., Any], ends: bool, batch: Any, *rest: Any) -> Any:
    """Give a hook of a user's own what its loader made; an evaluation's batch has more around it until hooks `end`."""
    if not isinstance(batch, Numbered):
        return hook(batch, *rest)
    changed = batch._replace(loaded=hook(batch.loaded, *rest))
    return changed.lawful() if ends else changed


def _tells(kind: type) -> bool:
    """Tell whether a class says which data it is: a container of no one's own, such as a TensorDataset, does not."""
    return kind.__module__.partition(".")[0] not in CONTAINERS and kind.__name__ not in ("Dataset", "IterableDataset")


def _loaders(parts: Sequence[Any]) -> bool:
    """Are these loaders, not batches?"""
    return any(isinstance(part, DataLoader) for part in parts)


def taken(data: Any) -> pl.LightningDataModule:
    """Take data in any form: a data module, loaders, a pair (train, test) or a dict of loaders.

    Raises:
        ValueError: it is none of these; the message says what wraps it.

    """
    if all(hasattr(type(data), name) for name in ("ordered", "fingerprint")):
        return data  # type: ignore[no-any-return]  # a data module of the batch law
    if isinstance(data, pl.LightningDataModule):
        return Adapted(data)
    if isinstance(data, Mapping):
        _check_names(data)
        return Loaders(**data)
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, DataLoader) for part in data):
        return Loaders(data[0], test=data[1])
    _check_loader("data", data)
    return Loaders(data)


def _check_names(data: Mapping[str, Any]) -> None:
    splits = ("train", "val", "test")
    for name in data:
        like = get_close_matches(str(name), splits, n=1)
        got, wanted = f"a dict with {name!r}", f"its loaders are called {', '.join(splits)}"
        require(name in splits, "data", got, f"did you mean {like[0]}? {wanted.capitalize()}" if like else wanted)
    require("train" in data, "data", f"a dict of {', '.join(data) or 'nothing'}", "give a loader as train")


def _check_loader(name: str, loader: Any) -> None:
    if isinstance(loader, Tensor):
        require(False, "data", f"{name} is a tensor", "wrap it: DataLoader(TensorDataset(x, y), batch_size=64)")
    if isinstance(loader, Dataset):
        require(
            False, "data", f"{name} is a data set, {type(loader).__name__}", "wrap it: DataLoader(it, batch_size=64)"
        )
    require(hasattr(loader, "__iter__") and not isinstance(loader, str), "data", f"{name} is {loader!r}", WANTED)
    once = isinstance(loader, Iterator)
    require(not once, "data", f"{name} can be gone through once only", WANTED)
    empty = counted(loader) and len(loader) == 0
    require(not empty, "data", f"{name} has no batch", "look at its items, batch_size and drop_last")


def _leaves(x: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch's part, by modality in order."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, Mapping):
        for name in sorted(x):
            yield x[name]
