"""Batch norm over several devices: one set of statistics, as one device with the whole batch would have."""

from __future__ import annotations

import sys

import pytorch_lightning as pl
from pytorch_lightning.plugins import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(LayerSync):
    """Synchronise the batch norm of what is trained, if there are several devices, and say so in one line.

    Lightning's `TorchSyncBatchNorm` also takes parts that stay in eval mode, which an evaluator would no longer find,
    and gives back layers of another class. torch's `SyncBatchNorm` runs on accelerators alone: on CPUs every process
    keeps its own statistics.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, pl.LightningModule)
        devices, frozen = model.trainer.world_size, {id(part) for part in getattr(model, "frozen", ())}
        found = [
            (parent, name, layer)
            for parent in model.modules()
            for name, layer in parent.named_children()
            if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and id(layer) not in frozen
        ]
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
            self._replaced = found
            for parent, name, layer in found:
                setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, pl.LightningModule)
        for parent, name, layer in self._replaced:
            synced = parent.get_submodule(name)
            layer.load_state_dict(synced.state_dict())  # parameters are the same; statistics moved to the device
            setattr(parent, name, layer.to(model.device).train(synced.training))
        self._replaced = []
        return model
