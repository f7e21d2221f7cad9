"""What an evaluator works on."""

from __future__ import annotations

from pathlib import Path

from pretext.backbones.multimodal import MultiModal
from pretext.core.types import Backbone
from pretext.training.run import load
from pretext.training.trained import Run


def trunk(run: Run | str | Path | None, backbone: Backbone | None, modality: str | None = None) -> Backbone:
    """Return what an evaluator works on: a trained run's backbone (of several the one of `modality`), or the given one.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: both or neither are given, or the backbone has no network for that modality.

    """
    if (run is None) == (backbone is None):
        raise ValueError("an evaluator wants either a run (--model.run RUN) or a backbone (--model.backbone CLASS)")
    if backbone is None:
        assert run is not None
        return load(run).inputs.network(modality)[0]
    if isinstance(backbone, MultiModal):
        names = list(backbone.backbones)
        if modality is not None and modality not in names:
            raise ValueError(f"the backbone has no network for {modality!r}, only for {names}")
        return backbone.network(modality or names[0])
    return backbone
