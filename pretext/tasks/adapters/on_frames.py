"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): tasks for images, on the frames of clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from pretext.backbones.frames import OneFrame, still
from pretext.core.errors import require, require_input
from pretext.core.tree import leaves, mapped
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, TaskFactory, Tree, reads_axes
from pretext.ops.temporal import take_frames

RGB = 3


class OnFrames(Task):
    """Let a task for images train a network for clips, or one for images, on single frames of clips.

    The task sees `frames` frames of each clip, drawn without replacement, as so many images; a network for clips sees
    them as clips of one frame, and the task sees its maps without their axis of time. Several frames of one clip look
    alike: leave it at one where a task tells the images of a batch apart, as `Contrast` and `Counting` do.

    The task sees a grey frame as three equal channels, because tasks for images want RGB. The network sees the mean of
    what the task makes of them. A task about colour learns nothing there. Flow is no image and is refused.

    Args:
        backbone: reads clips ("thw") or images ("hw").
        task: builds the task for images (its class and its other arguments).
        frames: how many of each clip.

    Raises:
        ValueError: the backbone reads neither, or `frames` is below 1.

    """

    def __init__(self, backbone: Backbone, task: TaskFactory, frames: int = 1) -> None:
        super().__init__()
        reads_axes("hw", backbone, self)
        require(frames >= 1, self, f"{frames=}", "give at least 1 of each clip")
        self.frames = frames
        self.clips = "t" in backbone.axes
        self.task = task(self._for_images(backbone))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Pose the task from frames of clips (N, C, W, H, W), clip by clip, in the order of time.

        Raises:
            ValueError: `x` is no clips of 3 or 1 channels, or has fewer frames than are asked for.

        """
        kind = "clips (N, C, W, H, W) of 3 channels or grey ones"
        how = "images need no OnFrames, and of flow no image can be made"
        require_input(x.ndim == 5 and x.shape[1] in (1, RGB), self, kind, x, how)
        n, window = len(x), x.shape[2]
        got = f"frames={self.frames}, but the clips have {window}"
        require(window >= self.frames, self, got, "lower it, or raise window in the data module")
        order = torch.rand(n, window, generator=rng, device=x.device).argsort(1)
        images = (
            take_frames(x, order[:, : self.frames].sort(1).values).transpose(1, 2).flatten(0, 1)
        )  # (N frames, C, H, W)
        puzzle = self.task.pose(images.expand(-1, RGB, -1, -1).contiguous(), rng)
        grey = x.shape[1] == 1
        return puzzle._replace(question=mapped(lambda image: self._asked(image, grey), puzzle.question))

    def solve(self, features: Features, given: Tree) -> Tree:
        return self.task.solve(still(features) if self.clips else features, given)

    def grade(self, prediction: Tree, answer: Tree) -> Grade:
        return self.task.grade(prediction, answer)

    def chance(self) -> Grade:
        return self.task.chance()

    def draw(self, puzzle: Puzzle, prediction: Tree | None) -> Sequence[Sequence[Panel]]:
        return self.task.draw(puzzle._replace(question=mapped(self._shown, puzzle.question)), prediction)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle | None:
        inside = self.task.destroyed(puzzle._replace(question=mapped(self._shown, puzzle.question)), rng)
        if inside is None:
            return None
        grey = any(leaf.shape[1] == 1 for leaf in leaves(puzzle.question))
        return inside._replace(question=mapped(lambda image: self._asked(image, grey), inside.question))

    def begin(self, epoch: int) -> None:
        self.task.begin(epoch)

    def follow(self, backbone: Backbone) -> None:
        self.task.follow(self._for_images(backbone))

    def extra_repr(self) -> str:
        return f"frames={self.frames}"

    def _for_images(self, backbone: Backbone) -> Backbone:
        return OneFrame(backbone) if self.clips else backbone

    def _asked(self, image: Tensor, grey: bool) -> Tensor:
        """Make what the network sees of an image (M, 3, h, w) that the task made."""
        image = image.mean(1, keepdim=True) if grey else image
        return image.unsqueeze(2) if self.clips else image

    def _shown(self, question: Tensor) -> Tensor:
        """Make an image again of what the network saw."""
        image = question.squeeze(2) if self.clips else question
        return image.expand(-1, RGB, -1, -1)
