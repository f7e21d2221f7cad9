"""What is known of a task, turned to a scale and a shift of each layer (https://arxiv.org/abs/2202.02124)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.training.meta.learner import Named
from pretext.training.optimization import OptimizerFactory

SCALE, SHIFT = "task_scale", "task_shift"
CHANNELS = 16  # of a group of the encoder's norms


@final
class Informed(Built, nn.Module):
    """Turn metadata to a scale and a shift for each channel of each layer, which begin at 1 and 0: as plain MAML.

    A layer is a norm of the backbone or, where it has none, a convolution or linear layer. The encoder is trained in
    the outer loop alone, by an optimiser of its own, and stays as it is while a task is learnt.

    Tasks that are learnt well are forgotten: those of one metadata whose mean accuracy over the last `look_back` times
    is above `forget_above` no longer count in training.

    Args:
        widths: of the encoder's layers.
        dropout: in the encoder.
        noise: standard deviation of what is added to metadata in training.
        optimizer: builds the encoder's optimiser.
        forget_above: an accuracy; 1: nothing is forgotten.
        look_back: how many times a task is seen before it may be forgotten.

    Raises:
        ValueError: an option out of its range; later, data without metadata.

    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        dropout: float = 0.2,
        noise: float = 0.1,
        optimizer: OptimizerFactory = Adam,
        forget_above: float = 0.95,
        look_back: int = 20,
    ) -> None:
        super().__init__()
        sound = 0 <= dropout < 1 and noise >= 0 and 0 < forget_above <= 1 and look_back >= 1 and len(widths) > 0
        got = f"{widths=}, {dropout=}, {noise=}, {forget_above=}, {look_back=}"
        require(sound, self, got, "give a layer, shares in [0, 1], and a number of times")
        self.widths, self.dropout, self.noise, self.optimizer = tuple(widths), dropout, noise, optimizer
        self.forget_above, self.look_back = forget_above, look_back
        self.encoder = nn.Sequential()
        self.read = nn.ModuleList()
        self.layers: list[str] = []
        self.scores: dict[str, deque[float]] = {}

    def begin(self, backbone: nn.Module, facts: int) -> None:
        """Build the encoder, and let the layers of the backbone be scaled and shifted."""
        require(facts > 0, self, "data without metadata", "name a file of it, --data.metadata FILE")
        channels = prepare(backbone)
        self.layers = list(channels)
        inside = facts
        for width in self.widths:
            norm = nn.GroupNorm(max(1, width // CHANNELS), width)
            self.encoder.extend([nn.Linear(inside, width), nn.GELU(), norm, nn.Dropout(self.dropout)])
            inside = width
        for count in channels.values():
            last = nn.Linear(inside, 2 * count)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.read.append(last)

    def forward(self, metadata: Tensor | None) -> Named:
        """Turn metadata (B, D) to scales and shifts (B, C) by the names of the backbone's buffers."""
        assert metadata is not None
        seen = metadata + self.noise * torch.randn_like(metadata) if self.training and self.noise else metadata
        code = self.encoder(seen.to(next(self.read.parameters()).dtype))
        changes: dict[str, Tensor] = {}
        for name, last in zip(self.layers, self.read, strict=True):
            scale, shift = last(code).chunk(2, dim=1)
            changes |= {f"backbone.{name}.{SCALE}": 1 + scale, f"backbone.{name}.{SHIFT}": shift}
        return changes

    def counted(self, metadata: Tensor, accuracies: Tensor) -> Tensor:
        """Note the accuracies (B,) of tasks, and say which tasks count: (B,) of 1 and 0."""
        counts = []
        for facts, accuracy in zip(metadata.cpu(), accuracies.tolist(), strict=True):
            key = facts.float().numpy().tobytes().hex()
            seen = self.scores.setdefault(key, deque(maxlen=self.look_back))
            forgotten = len(seen) == self.look_back and sum(seen) / len(seen) > self.forget_above
            if not forgotten:
                seen.append(accuracy)
            counts.append(0.0 if forgotten else 1.0)
        return torch.tensor(counts, device=accuracies.device)

    def state(self) -> dict[str, list[float]]:
        """Say how well tasks were learnt, as plain data."""
        return {key: list(seen) for key, seen in self.scores.items()}

    def load(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from there."""
        self.scores = {key: deque(seen, maxlen=self.look_back) for key, seen in state.items()}


def prepare(backbone: nn.Module) -> dict[str, int]:
    """Let layers of a backbone be scaled and shifted by buffers, which do nothing as they are: name -> channels."""
    norms = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, _BatchNorm | nn.GroupNorm)}
    plain = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    others = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, plain)}
    found: Mapping[str, nn.Module] = norms or others
    channels = {name: _channels(layer) for name, layer in found.items()}
    for name, layer in found.items():
        layer.register_buffer(SCALE, torch.ones(channels[name]), persistent=False)
        layer.register_buffer(SHIFT, torch.zeros(channels[name]), persistent=False)
        layer.register_forward_hook(_changed)
    return channels


def _channels(layer: nn.Module) -> int:
    if isinstance(layer, _BatchNorm):
        return layer.num_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    return layer.out_features if isinstance(layer, nn.Linear) else int(layer.weight.shape[0])  # type: ignore[index]  # a convolution


def _changed(layer: nn.Module, given: Any, out: Tensor) -> Tensor:
    """Scale and shift the channels of (n, C, ...)."""
    wide = (-1, *[1] * (out.ndim - 2))
    scale, shift = layer.get_buffer(SCALE).to(out.dtype), layer.get_buffer(SHIFT).to(out.dtype)
    return out * scale.view(wide) + shift.view(wide)
