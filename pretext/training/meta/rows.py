"""What a `MetaLearner` begins with, and how the rows of a batch become episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pretext.backbones.multimodal import MultiModal
from pretext.core.errors import require
from pretext.core.types import Backbone, Tree
from pretext.training.inputs import InputPipeline
from pretext.training.meta.learner import Episodes
from pretext.training.run import load


def initial(run: str | None, backbone: Backbone | None, modality: str | None) -> Backbone:
    """Return what is trained: a run's backbone, else the given one; of several that of a modality.

    Raises:
        ValueError: neither is given.

    """
    if run is not None:
        return load(run).inputs.network(modality)[0].train()
    if backbone is None:
        raise ValueError(f"MetaLearner: {run=}, {backbone=}; give --model.run RUN or --model.backbone CLASS")
    if isinstance(backbone, MultiModal):
        return backbone.network(modality or next(iter(backbone.backbones)))
    return backbone


def episodes_of(inputs: InputPipeline, x: Tree, batch: Mapping[str, Any]) -> Episodes:
    """Part the rows of a batch into episodes; `x` holds them as the network sees them, (B M, ...).

    Raises:
        ValueError: an image network would see the frames of films as rows.

    """
    rows: Tensor = inputs.for_network(x, inputs.modality)
    y, known, count = batch["y"], batch["support"], len(batch["episode"])
    require(len(rows) == len(known), "MetaLearner", "an image network and films", "take a network that reads films")
    each = len(known) // count
    shots = int(known[:each].sum())
    x, y = rows.view(count, each, *rows.shape[1:]), y.view(count, each, *y.shape[1:])
    return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], batch.get("metadata"))


def plain(x: Tree) -> Tree:
    """Copy tensors that Lightning made in inference mode: steps that are learnt cannot use those."""
    if isinstance(x, dict):
        return {name: plain(part) for name, part in x.items()}
    return x.clone() if isinstance(x, Tensor) and x.is_inference() else x
