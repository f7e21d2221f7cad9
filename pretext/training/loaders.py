"""Data of a user's own: plain loaders, and data modules that know nothing of this package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.training.in_order import Dealt, InOrder, counted

Split = Literal["train", "test"]
BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
HOOKS = (*BATCH_HOOKS, "state_dict", "load_state_dict", "teardown", "on_exception")
WANTED = "give a DataLoader, a LightningDataModule, or pretext.Loaders(train, val, test)"


class _Own(Built, pl.LightningDataModule, ABC):
    """What probing wants of a data module, from loaders alone."""

    @abstractmethod
    def loader(self, split: Literal["train", "val", "test"]) -> Any:
        """Return what yields the batches of a split, or None."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes; where the data set does not say them, the numbers. Empty where unlabelled."""
        named = getattr(getattr(self.loader("train"), "dataset", None), "classes", None)
        return [str(name) for name in named] if named else self._numbers

    @cached_property
    def _numbers(self) -> list[str]:
        labels = [batch["y"] for batch in self.ordered("train") if "y" in batch]
        one = bool(labels) and labels[0].ndim == 1
        return [str(k) for k in range(1 + max(int(y.max()) for y in labels))] if one else []

    def train_dataloader(self) -> Any:
        return self._needed("train")

    def val_dataloader(self) -> Any:
        loader = self.loader("val")
        return iter(()) if loader is None else Dealt(loader)  # Lightning warns at an empty list

    def test_dataloader(self) -> Any:
        return Dealt(self._needed("test"))

    def predict_dataloader(self) -> Any:
        return self.test_dataloader()

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
    or a dict of these by modality. Batches come in the order of the loader; probing takes the data set's own order.

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

    def prepare_data(self) -> None:
        """Let the module prepare, once; of several processes Lightning asks one on each machine."""
        if "prepared" not in self._ready:
            self.module.prepare_data()
            self._ready.add("prepared")

    def loader(self, split: Literal["train", "val", "test"]) -> Any:
        stage = "test" if split == "test" else "fit"
        if stage not in self._ready:
            if self.trainer is None:
                self.prepare_data()
            self.module.trainer = self.trainer
            self.module.setup(stage)
            self._ready.add(stage)
        hook = f"{split}_dataloader"
        return getattr(self.module, hook)() if is_overridden(hook, self.module, pl.LightningDataModule) else None


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
