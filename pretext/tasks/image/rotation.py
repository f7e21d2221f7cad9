"""https://arxiv.org/abs/1803.07728 (Gidaris, Singh, Komodakis: RotNet, ICLR 2018): which way is up?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import film
from pretext.ops.geometric import picture, quarter_turn
from pretext.ops.temporal import FLOW_CHANNELS, draw_clip, opposite

TURNS = 4  # quarter turns need no interpolation, which would leave traces to read instead of the content


class Rotation(Task):
    """Tell by how many quarter turns an image, or a clip, was turned counter-clockwise.

    As in the authors' code all four turns of each image are in the batch, so that N images are 4 N questions, image by
    image; `turns="one"` draws a single turn per image instead (VISSL's way, a quarter of the cost per image).

    On a network for clips all frames of a clip are turned alike. Of flow (two channels) the arrows turn with the
    picture, so that the flow of a turned clip is what is asked about, not a field that no motion makes.

    The head is one linear layer on the pooled features, as in the paper: it adds no capacity of its own, so whatever
    orientation takes to see has to be learnt by the backbone.

    Args:
        backbone: reads images or clips.
        turns: "all" four of each image, or "one" at random.
        frames: of clips, how many a question has, from anywhere in the window; none: the whole window.

    Raises:
        ValueError: the backbone reads neither, `turns` is neither "all" nor "one", or `frames` is below 1 or of images.

    """

    def __init__(self, backbone: Backbone, turns: Literal["all", "one"] = "all", frames: int | None = None) -> None:
        super().__init__()
        for letter in "hw":
            axis(letter, backbone, self)
        if turns not in ("all", "one"):
            raise ValueError(f'Rotation: turns is {turns!r}; choose "all" four of each image, or "one" at random')
        self.clips = "t" in backbone.axes
        if frames is not None and (frames < 1 or not self.clips):
            what = "give at least 1, or none for the whole window" if self.clips else "images have none; leave it out"
            raise ValueError(f"Rotation: frames is {frames}; {what}")
        self.turns, self.frames = turns, frames
        self.head = nn.Linear(backbone.dim, TURNS)
        nn.init.normal_(self.head.weight, std=0.01)  # starts at a blind guess
        nn.init.zeros_(self.head.bias)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Turn images (N, 3, S, S) or clips (N, C, W, S, S): a question of 4 N, or of N for one turn each, and labels.

        Raises:
            ValueError: `x` is not square, where padding or squashing would give the turn away, or has too few frames.

        """
        if x.ndim != (5 if self.clips else 4) or x.shape[-1] != x.shape[-2]:
            wanted = "clips (N, C, W, S, S)" if self.clips else "images (N, 3, S, S)"
            how = "crop them to a square first (Augment's crop, or the data module's canvas)"
            if x.ndim == 5 and not self.clips:
                how = "wrap the task in pretext.OnFrames, or take a backbone of clips"
            raise ValueError(f"Rotation wants square {wanted}, got {tuple(x.shape)}; {how}")
        if self.frames is not None:
            x = draw_clip(self, x, self.frames, rng)
        flow = self.clips and x.shape[1] == FLOW_CHANNELS
        if self.turns == "all":
            every = torch.stack([_turned(x, k, flow) for k in range(TURNS)], dim=1)  # (N, 4, C, ..., S, S)
            return Puzzle(every.flatten(0, 1), torch.arange(TURNS, device=x.device).repeat(len(x)))
        labels = torch.randint(TURNS, (len(x),), generator=rng, device=x.device)
        return Puzzle(_turn_each(x, labels, flow), labels)

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits over the four turns."""
        logits: Tensor = self.head(features.pooled)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(TURNS)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the turned image, the upright one, and the image as the prediction would put it upright."""
        guesses = [None] * len(puzzle.answer) if prediction is None else prediction.argmax(1).tolist()
        rows = []
        show = film if self.clips else picture
        flow = self.clips and puzzle.question.shape[1] == FLOW_CHANNELS
        for image, turn, guess in zip(puzzle.question, puzzle.answer.tolist(), guesses, strict=True):
            row = [
                Panel(show(image), "which way is up?"),
                Panel(show(_turned(image, -turn, flow)), f"answer: turned {90 * turn}°"),
            ]
            if guess is not None:
                undone = show(_turned(image, -guess, flow))
                row.append(Panel(undone, f"prediction: turned {90 * guess}°", guess == turn))
            rows.append(row)
        return rows

    def extra_repr(self) -> str:
        return f"turns={self.turns!r}, frames={self.frames}"


def _turned(x: Tensor, turn: int, flow: bool) -> Tensor:
    """Turn images (..., H, W) by so many quarter turns; of flow (..., 2, T, H, W) the arrows as well."""
    pixels = quarter_turn(x, turn)
    return _arrows(pixels).roll(-turn, -4)[..., :FLOW_CHANNELS, :, :, :] if flow else pixels


def _turn_each(x: Tensor, turns: Tensor, flow: bool) -> Tensor:
    """Turn every image (N, C, S, S), or clip, by its own number of quarter turns (N,), in one gather of pixels."""
    side = x.shape[-1]
    upright = torch.arange(side * side, device=x.device).view(side, side)
    sources = torch.stack([quarter_turn(upright, k).flatten() for k in range(TURNS)])  # where each pixel comes from
    pixels = x.flatten(-2)
    chosen = sources[turns].view(len(x), *(1 for _ in x.shape[1:-2]), side * side)
    turned = pixels.gather(-1, chosen.expand_as(pixels)).view(x.shape)
    if not flow:
        return turned
    components = (turns[:, None] + torch.arange(FLOW_CHANNELS, device=x.device)) % TURNS
    return _arrows(turned).gather(1, components.view(len(x), -1, 1, 1, 1).expand_as(turned))


def _arrows(flow: Tensor) -> Tensor:
    """List how far (..., 2, T, H, W) moves right, down, left and up: turned, it is the same list from the next on."""
    return torch.cat((flow, opposite(flow)), -4)
