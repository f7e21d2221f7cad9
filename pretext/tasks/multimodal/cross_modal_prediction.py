"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): what does another modality show?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.backbones.multimodal import MultiModal
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis
from pretext.nn.decoder import Blind, Decoder, blind, drawn, errors, reads, rows, shrunk
from pretext.ops.drawing import film
from pretext.ops.temporal import clip, draw_starts

CHANNELS = {"rgb": 3, "grey": 1, "flow": 2}


class CrossModalPrediction(Task):
    """Draw a clip as another modality shows it, frame by frame: motion from colours, colours from grey, and so on.

    One network of a `MultiModal` sees the clip in its own modality. A decoder (`pretext.nn.decoder.Decoder`) draws the
    same moments in the other, reduced by `shrink`, from one stage; the other needs no network. The loss is the
    squared error over that of a blind guess, which knows the batch's mean: 1 for it, below where something is known.

    Args:
        backbone: a `MultiModal`.
        source: the modality that is seen; its network reads clips.
        target: the modality that is asked for: "rgb", "grey" or "flow".
        frames: how many of each window, from anywhere in it; none: the whole window.
        shrink: how many times smaller than the clips the drawn frames are.
        width: of the decoder.
        stage: name of the one that the decoder reads; a shallower one keeps more detail, and what lies deeper learns
            nothing here; none: the deepest.

    Raises:
        ValueError: the backbone is no `MultiModal`, has no network for clips of the source, or an argument is out of
            its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        source: str,
        target: str,
        frames: int | None = None,
        shrink: int = 2,
        width: int = 64,
        stage: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, MultiModal):
            raise ValueError(
                f"CrossModalPrediction needs a MultiModal, got {type(backbone).__name__}; configure backbone: "
                "{class_path: pretext.MultiModal, init_args: {backbones: {rgb: ..., flow: ...}}}"
            )
        if source not in backbone.backbones or target not in CHANNELS or source == target:
            raise ValueError(
                f"CrossModalPrediction: source={source!r}, target={target!r}; choose one of the backbone's "
                f"({', '.join(backbone.backbones)}) to see and another of {', '.join(CHANNELS)} to draw"
            )
        if shrink < 1 or (frames is not None and frames < 1):
            raise ValueError(
                f"CrossModalPrediction: frames={frames}, shrink={shrink}; give at least 1 of each, or no frames for "
                "the whole window"
            )
        network = backbone.backbones[source]
        assert isinstance(network, Backbone)  # ModuleDict forgets that its modules are backbones
        for letter in "thw":
            axis(letter, network, self)
        self.source, self.target, self.frames, self.shrink = source, target, frames, shrink
        self.stage, depth = reads(network, stage, self)
        self.decoder = Decoder(depth, CHANNELS[target], width)

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Ask for the same moments of two modalities of windows (N, C, W, H, W); given is a blind guess.

        Raises:
            ValueError: `x` lacks a modality, they differ in length, or have too few frames.

        """
        seen, asked = self._pair(x)
        if self.frames is not None:
            starts = draw_starts(len(seen), seen.shape[2], self.frames, rng)
            seen, asked = (clip(part, starts, self.frames) for part in (seen, asked))
        answer = shrunk(asked, self.shrink)
        return Puzzle({self.source: seen}, answer, blind(answer))

    def solve(self, features: dict[str, Features], given: Blind) -> Tensor:
        """Draw (N, C, T, h, w), in float32."""
        return drawn(self.decoder(features[self.source].stages[self.stage], *given.picture.shape[2:]), given)

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip as it was seen, as the other modality shows it, and as it was predicted."""
        asked = [Panel(film(seen), f"{self.target} of this {self.source}?") for seen in puzzle.question[self.source]]
        pairs = None if prediction is None else zip(prediction, puzzle.answer, strict=True)
        guesses = None if pairs is None else [film(guess, scale=true) for guess, true in pairs]
        misses = None if prediction is None else errors(prediction, puzzle.answer)
        return rows(asked, map(film, puzzle.answer), guesses, misses)

    def extra_repr(self) -> str:
        return f"source={self.source!r}, target={self.target!r}, frames={self.frames}, shrink={self.shrink}"

    def _pair(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Take both modalities of a batch, and check that they fit each other and the task."""
        if not isinstance(x, dict) or self.source not in x or self.target not in x:
            got = f"a batch of {', '.join(x)}" if isinstance(x, dict) else "a batch of one modality without a name"
            raise ValueError(
                f"CrossModalPrediction wants {self.source!r} and {self.target!r}, got {got}; name both in the data "
                "module's modalities"
            )
        seen, asked = x[self.source], x[self.target]
        if seen.ndim != 5 or asked.shape != (len(seen), CHANNELS[self.target], *seen.shape[2:]):
            raise ValueError(
                f"CrossModalPrediction wants clips (N, C, W, H, W) alike but for the channels ({self.target}: "
                f"{CHANNELS[self.target]}), got {tuple(seen.shape)} and {tuple(asked.shape)}; let one data module "
                "deliver both"
            )
        if self.frames is not None and seen.shape[2] < self.frames:
            raise ValueError(
                f"CrossModalPrediction: frames={self.frames}, but the windows have {seen.shape[2]}; lower it, or raise "
                "window in the data module"
            )
        return seen, asked
