"""https://arxiv.org/abs/2002.12177 (ELo), https://arxiv.org/abs/2103.00020 (CLIP): which sound, text is of the same?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.backbones.multimodal import two_of
from pretext.backbones.two_encoders import TwoEncoders
from pretext.core.errors import require
from pretext.core.ranks import gathered, gathered_rows
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.embedding_losses import EmbeddingLoss, InfoNCE, MaxMargin
from pretext.nn.heads import small
from pretext.nn.losses import ranking
from pretext.ops.drawing import panels, rows, thumbnail, written
from pretext.ops.temporal import random_clip, require_modalities, same_moment
from pretext.ops.tiles import swap_places
from pretext.ops.words import as_texts

Pair = tuple[Tensor, Tensor]
"""Embeddings (N, outputs) of the first and of the second modality."""


class Embed(Task):
    """Bring two modalities of one item close together, and apart from those of the others in the batch.

    Of clips both modalities show the same moment. Pictures and texts are taken as they are: with `Text` beside a
    network for pictures and `InfoNCE(0.07, learnt=True)` it is CLIP.

    The loss is divided by what a blind guess costs, so that it is 1 whatever the batch, the margin and the temperature.

    Clips are compared within the batch, that of all devices in training: use as many as fit, since the others are the
    wrong answers. The heads are linear, ReLU, linear, without batch norm, which would let the clips of a batch see one
    another.

    Args:
        backbone: a `MultiModal`.
        first: the modality that asks; of clips and sounds one, at least, is of clips.
        second: the modality that is found.
        frames: length of the clips, from a random place in their windows; none: the whole windows. For clips alone.
        loss: how embeddings are compared; none: `MaxMargin()`.
        hardest: epoch from which on only the wrong one that is most like the first counts instead of all (for `InfoNCE`
            the same in turn). Outside training it always holds. Begin with all: from the start, 0, embeddings are soon
            all equal, since the one that counts is nearer than the right one almost always.
        width: of the heads' hidden layers; none: those of the networks.
        outputs: size of the embeddings.

    Raises:
        ValueError: the backbone has no such two networks, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        first: str = "rgb",
        second: str = "audio",
        frames: int | None = None,
        loss: EmbeddingLoss | None = None,
        hardest: int | None = None,
        width: int | None = None,
        outputs: int = 128,
    ) -> None:
        super().__init__()
        networks = two_of(self, backbone, first, second)
        dims = [network.dim for network in networks]
        sizes = [frames, width, outputs]
        least = "give at least 1 of each, or none"
        require(min(1 if n is None else n for n in sizes) >= 1, self, f"{frames=}, {width=}, {outputs=}", least)
        require(hardest is None or hardest >= 0, self, f"{hardest=}", "give an epoch of 0 or more, or none")
        self.first, self.second, self.frames, self.outputs = first, second, frames, outputs
        self.axes = {name: network.axes for name, network in zip((first, second), networks, strict=True)}
        clips = "thw" in self.axes.values()
        require(frames is None or clips, self, f"{frames=}, but neither network reads clips", "leave frames out")
        self.loss, self.hardest, self.epoch = MaxMargin() if loss is None else loss, hardest, 0
        spread = self.loss.spread(outputs)
        self.heads = nn.ModuleList(_layers(dim, width or dim, outputs, spread) for dim in dims)
        self.log_scale = nn.Parameter(torch.zeros(())) if isinstance(self.loss, InfoNCE) and self.loss.learnt else None

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Cut the same moment out of clips; the answer is the row of each first's second, (N,) int64.

        Raises:
            ValueError: `x` lacks a modality, or its windows are too short.

        """
        if set(self.axes.values()) <= {"thw", "t"}:
            question = same_moment(self, x, self.first, self.second, self.frames, rng)
        else:
            require_modalities(self, x, self.first, self.second)
            question = {name: self._part(x[name], axes, rng) for name, axes in self.axes.items()}
        return Puzzle(question, torch.arange(len(x[self.first]), device=rng.device))

    def _part(self, x: Tensor, axes: str, rng: Generator) -> Tensor:
        """Cut a clip out of windows; what has no time, or hears a whole text, stays as it is."""
        return random_clip(self, x, self.frames, rng) if axes == "thw" and self.frames is not None else x

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put other items' second modality in the places of an item's own, where the answer says that it belongs."""
        second = swap_places(puzzle.question[self.second].unsqueeze(1), rng)[:, 0]
        return puzzle._replace(question={**puzzle.question, self.second: second})

    def solve(self, features: dict[str, Features], given: None) -> Pair:
        """Give the embeddings of both modalities, (N, outputs) each."""
        pooled = (features[self.first].pooled, features[self.second].pooled)
        one, two = (head(vectors) for head, vectors in zip(self.heads, pooled, strict=True))
        return one, two

    def grade(self, prediction: Pair, answer: Tensor) -> Grade:
        """Score the loss, and `ranking`: the share of other clips' seconds that are less like the first than its own.

        A single clip, such as a validation set may leave over, has nothing to be told from: it costs a blind guess.
        """
        answer = gathered_rows(answer, len(answer))
        one, two = (gathered(part) for part in prediction)
        if len(one) == 1:
            nothing = one.float().sum() + two.float().sum() + (0 if self.log_scale is None else self.log_scale)
            return self.chance()._replace(loss=1 + 0 * nothing)
        alike = self.likeness(one, two)[:, answer]  # the right ones on the diagonal
        hardest = self.hardest is not None and (self.epoch >= self.hardest or not self.training)
        return Grade(self.loss.loss(alike, hardest), {"ranking": ranking(alike)})

    def likeness(self, one: Tensor, two: Tensor) -> Tensor:
        """Compare every first (N, outputs) with every second: (N, N), the larger the more alike."""
        alike = self.loss.likeness(one, two)
        if self.log_scale is not None and isinstance(self.loss, InfoNCE):
            return self.loss.sharpened(alike, self.log_scale)
        return alike

    def encoders(self, backbone: Backbone) -> TwoEncoders:
        """Join the backbone that the task was built for with its heads: embeddings by modality."""
        heads = dict(zip((self.first, self.second), self.heads, strict=True))
        return TwoEncoders(backbone, heads, self.outputs, self.axes)

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"ranking": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Pair | None) -> list[list[Panel]]:
        """Draw each first with its second, and the second that the prediction finds most like the first."""
        firsts, seconds = (self._drawn(name, puzzle.question[name]) for name in (self.first, self.second))
        answer, what = puzzle.answer.tolist(), "clip" if "thw" in self.axes.values() else "item"
        columns = [
            panels(firsts, f"which {self.second} is of this {what}?"),
            panels([seconds[own] for own in answer], "answer: its own"),
        ]
        if prediction is not None:
            nearest = self.loss.likeness(*(part.detach().cpu() for part in prediction)).argmax(1)
            pairs = zip(nearest.tolist(), answer, strict=True)
            names = ["its own" if i == own else f"that of item {i + 1}" for i, own in pairs]
            right = nearest == puzzle.answer.cpu()
            said = [f"prediction: {name}" for name in names]
            columns.append(panels([seconds[i] for i in nearest.tolist()], said, right))
        return rows(*columns)

    def _drawn(self, name: str, x: Tensor) -> list[Tensor]:
        """Draw a modality of each item."""
        if self.axes[name] == "l":
            return [written(text) for text in as_texts(x)]
        frames = x.unsqueeze(2) if self.axes[name] == "hw" else x  # a picture is a film of one frame
        return [thumbnail(part) for part in frames]

    def extra_repr(self) -> str:
        asked = f"first={self.first!r}, second={self.second!r}, frames={self.frames}"
        return f"{asked}, loss={self.loss}, hardest={self.hardest}"


def _layers(inputs: int, width: int, outputs: int, spread: float | None) -> nn.Sequential:
    """Make a head of one hidden layer, whose outputs spread so much for hidden values of about 1, or as usual."""
    last = nn.Linear(width, outputs)
    if spread is not None:
        small(last, spread / width**0.5)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last)
