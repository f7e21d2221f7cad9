"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): what does another modality show?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.backbones.multimodal import needs_several
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.decoder import Blind, Decoder, blind_picture, clip_rows, decode, relative_errors, shrink, stage_of
from pretext.ops.drawing import film_strip, panels
from pretext.ops.temporal import require_modalities, same_moment
from pretext.ops.tiles import swap_places

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
        several = needs_several(self, backbone)
        sources, targets = ", ".join(several.dims), ", ".join(CHANNELS)
        fits = source in several.dims and target in CHANNELS and source != target
        wanted = f"choose one of the backbone's ({sources}) to see and another of {targets} to draw"
        require(fits, self, f"{source=}, {target=}", wanted)
        least = "give at least 1 of each, or no frames for the whole window"
        require(min(shrink, frames or 1) >= 1 and frames != 0, self, f"{frames=}, {shrink=}", least)
        network = several.network(source)
        reads_axes("thw", network, self)
        self.source, self.target, self.frames, self.shrink = source, target, frames, shrink
        self.stage, depth = stage_of(network, stage, self)
        self.decoder = Decoder(depth, CHANNELS[target], width)

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Ask for the same moments of two modalities of windows (N, C, W, H, W); given is a blind guess.

        Raises:
            ValueError: `x` lacks a modality, they differ in length, or have too few frames.

        """
        require_modalities(self, x, self.source, self.target)
        shown, asked = x[self.source], x[self.target]
        channels = CHANNELS[self.target]
        require(
            shown.ndim == 5 and asked.shape == (len(shown), channels, *shown.shape[2:]),
            self,
            f"wants clips (N, C, W, H, W) alike but for the channels ({self.target}: {channels}), got "
            f"{tuple(shown.shape)} and {tuple(asked.shape)}",
            "let one data module deliver both",
        )
        if self.frames is not None:
            shown, asked = same_moment(self, x, self.source, self.target, self.frames, rng).values()
        answer = shrink(asked, self.shrink)
        return Puzzle({self.source: shown}, answer, blind_picture(answer))

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Show clips of other items instead of those whose other modality is asked for."""
        shown = puzzle.question[self.source].unsqueeze(1)
        return puzzle._replace(question={self.source: swap_places(shown, rng)[:, 0]})

    def solve(self, features: dict[str, Features], given: Blind) -> Tensor:
        """Draw (N, C, T, h, w), in float32."""
        return decode(self.decoder(features[self.source].stages[self.stage], *given.picture.shape[2:]), given)

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(relative_errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip as it was seen, as the other modality shows it, and as it was predicted."""
        asked = panels(map(film_strip, puzzle.question[self.source]), f"{self.target} of this {self.source}?")
        return clip_rows(asked, puzzle.answer, prediction)

    def extra_repr(self) -> str:
        return f"source={self.source!r}, target={self.target!r}, frames={self.frames}, shrink={self.shrink}"
