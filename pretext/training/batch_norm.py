"""Batch norm over several devices: one set of statistics, as one device with the whole batch would have."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.plugins import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Place(NamedTuple):
    """Where a layer stands."""

    parent: nn.Module
    name: str
    layer: nn.Module


class SyncedBatchNorm(LayerSync):
    """Synchronise the batch norm of what is trained, if there are several devices, and say so in one line.

    Lightning's `TorchSyncBatchNorm` also takes parts that stay in eval mode, which an evaluator would no longer find,
    and gives back layers of another class. torch's `SyncBatchNorm` runs on accelerators alone: on CPUs every process
    keeps its own statistics.
    """

    def __init__(self) -> None:
        self._replaced: list[Place] = []

    def apply(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, pl.LightningModule)
        devices, found = model.trainer.world_size, places(model)
        if devices == 1 or not found:
            return model
        on_cpu = model.trainer.strategy.root_device.type == "cpu"
        if model.trainer.is_global_zero:
            synced = (
                f"batch norm is over the batches of all {devices} devices (--trainer.sync_batchnorm false: of each)"
            )
            alone = f"batch norm stays that of each of {devices} processes: torch synchronises none on CPUs"
            print(alone if on_cpu else synced, file=sys.stderr)
        if not on_cpu:
            synchronise(found)
            self._replaced = found
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        restore(self._replaced)
        self._replaced = []
        return model


def places(model: nn.Module) -> list[Place]:
    """Find the batch norms of a module, but for what its `frozen` holds."""
    frozen = {id(part) for part in getattr(model, "frozen", ())}
    return [
        Place(parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and id(layer) not in frozen
    ]


def synchronise(found: Sequence[Place]) -> None:
    """Replace layers by synchronised ones of the same parameters and statistics."""
    for parent, name, layer in found:
        synced = nn.SyncBatchNorm.convert_sync_batchnorm(layer)  # type: ignore[no-untyped-call]  # torch's
        setattr(parent, name, synced)


def restore(found: Sequence[Place]) -> None:
    """Put the layers back where they were, with what was learnt meanwhile, on its device."""
    for parent, name, layer in found:
        synced = parent.get_submodule(name)
        assert isinstance(synced, nn.SyncBatchNorm)
        layer._parameters.update(synced._parameters)
        layer._buffers.update(synced._buffers)
        setattr(parent, name, layer.train(synced.training))
