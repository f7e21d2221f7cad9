"""Learning to learn by predicting a sequence: examples are read one by one, and what is remembered is the learner.

https://arxiv.org/abs/1605.06065, https://arxiv.org/abs/1707.03141: x0, y0, x1, y1, ... x_n -> y_n.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pretext.core.errors import require
from pretext.training.meta.learner import Answers, Episodes, Learner, Loss, Network, Spec
from pretext.training.optimization import OptimizerFactory

Kind = Literal["gru", "transformer"]
HEADS = 4


@final
class SequenceLearner(Learner):
    """Read the examples of an episode as a sequence x, y, x, y ... and name the next y; nothing is adapted.

    It is trained to name every y, that of an example from the examples before it. Each question follows the examples
    alone, so that none sees another.

    Args:
        kind: what reads the sequence: a GRU, or a transformer that looks back alone.
        width: of its tokens, a multiple of 4.
        layers: of it.

    Raises:
        ValueError: an option out of its range.

    """

    def __init__(self, kind: Kind = "gru", width: int = 128, layers: int = 1) -> None:
        super().__init__()
        require(kind in ("gru", "transformer"), self, f"{kind=}", "choose gru or transformer")
        require(
            width >= 4 and width % 4 == 0 and layers >= 1, self, f"{width=}, {layers=}", "a multiple of 4, and 1 up"
        )
        self.kind, self.width, self.layers = kind, width, layers
        self.head: nn.Module = nn.Identity()
        self.outputs = 0

    def begin(self, backbone: nn.Module, spec: Spec) -> None:
        width, self.outputs = self.width, spec.outputs
        self.see, self.hear = nn.Linear(spec.dim, width), nn.Linear(spec.outputs, width)
        self.read = nn.Linear(width, spec.outputs)
        if self.kind == "gru":
            self.core: nn.Module = nn.GRU(width, width, self.layers, batch_first=True)
        else:
            layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, 0.0, batch_first=True, norm_first=True)
            self.core = nn.TransformerEncoder(layer, self.layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def answer(self, network: Network, episodes: Episodes, loss: Loss) -> Answers:
        y = episodes.support_y
        told = y if y.is_floating_point() else one_hot(y, self.outputs).to(self.hear.weight.dtype)
        x, asked = self.see(_features(network, episodes.support)), self.see(_features(network, episodes.query))
        pairs = torch.stack([x, self.hear(told)], dim=2)  # (B, S, 2, width)
        states, ends = self._told_by_gru(pairs, asked) if self.kind == "gru" else self._told_at_once(pairs, asked)
        return Answers(self.read(ends), along=self.read(states))

    def own_optimizer(self) -> OptimizerFactory | None:
        return None

    def apart(self) -> list[nn.Parameter]:
        return []

    def describe(self) -> str:
        return f"sequence learner ({self.kind})"

    def _told_by_gru(self, pairs: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Read the examples once, and every question from what is remembered then."""
        episodes, questions, width = asked.shape
        states, memory = self.core(pairs.flatten(1, 2))
        each = memory.repeat_interleave(questions, dim=1).contiguous()  # (layers, B Q, width)
        ends, _ = self.core(asked.reshape(-1, 1, width), each)
        return states[:, ::2], ends.view(episodes, questions, width)

    def _told_at_once(self, pairs: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Let each token look at those before it, and each question at the examples and itself."""
        count, questions = 2 * pairs.shape[1], asked.shape[1]
        where = places(pairs.shape[1] + 1, pairs.shape[-1]).to(pairs)
        tokens = torch.cat([(pairs + where[:-1, None]).flatten(1, 2), asked + where[-1]], dim=1)
        whole = count + questions
        hidden = torch.ones(whole, whole, dtype=torch.bool, device=pairs.device).triu(1)
        hidden[count:, count:] = ~torch.eye(questions, dtype=torch.bool, device=pairs.device)
        states = self.core(tokens, mask=hidden)
        return states[:, :count:2], states[:, count:]


def places(count: int, width: int) -> Tensor:
    """Number pairs by sines and cosines: (count, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angles = torch.arange(count)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _features(network: Network, x: Tensor) -> Tensor:
    """Look at (B, n, C, ...): (B, n, D)."""
    return network.call({}, x.flatten(0, 1)).view(*x.shape[:2], -1)
