"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): tasks for images, on the frames of clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, TaskFactory, Tree, axis
from pretext.ops.temporal import take

RGB = 3


class OnFrames(Task):
    """Let a task for images train a network for clips, or one for images, on single frames of clips.

    The task sees `frames` frames of each clip, drawn without replacement, as so many images; a network for clips sees
    them as clips of one frame, and the task sees its maps without their axis of time. Several frames of one clip look
    alike: leave it at one where a task tells the images of a batch apart, as `Contrast` and `Counting` do.

    Grey frames are three equal channels to the task, because tasks for images want RGB, and the network sees the mean
    of what the task makes of them. A task about colour learns nothing there. Flow is no image and is refused.

    Args:
        backbone: reads clips ("thw") or images ("hw").
        task: builds the task for images (its class and its other arguments).
        frames: how many of each clip.

    Raises:
        ValueError: the backbone reads neither, or `frames` is below 1.

    """

    def __init__(self, backbone: Backbone, task: TaskFactory, frames: int = 1) -> None:
        super().__init__()
        for letter in "hw":
            axis(letter, backbone, self)
        if frames < 1:
            raise ValueError(f"OnFrames: frames is {frames}; give at least 1 of each clip")
        self.frames = frames
        self.clips = "t" in backbone.axes
        self.task = task(self._for_images(backbone))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Pose the task from frames of clips (N, C, W, H, W), clip by clip, in the order of time.

        Raises:
            ValueError: `x` is no clips of 3 or 1 channels, or has fewer frames than are asked for.

        """
        if x.ndim != 5 or x.shape[1] not in (1, RGB):
            raise ValueError(
                f"OnFrames wants clips (N, C, W, H, W) of 3 channels or grey ones, got {tuple(x.shape)}; "
                "images need no OnFrames, and of flow no image can be made"
            )
        n, window = len(x), x.shape[2]
        if window < self.frames:
            raise ValueError(
                f"OnFrames: frames={self.frames}, but the clips have {window}; lower it, or raise window in the data "
                "module"
            )
        order = torch.rand(n, window, generator=rng, device=x.device).argsort(1)
        images = take(x, order[:, : self.frames].sort(1).values).transpose(1, 2).flatten(0, 1)  # (N frames, C, H, W)
        puzzle = self.task.pose(images.expand(-1, RGB, -1, -1).contiguous(), rng)
        grey = x.shape[1] == 1
        return puzzle._replace(question=_each(lambda image: self._asked(image, grey), puzzle.question))

    def solve(self, features: Features, given: Tree) -> Tree:
        return self.task.solve(_still(features) if self.clips else features, given)

    def grade(self, prediction: Tree, answer: Tree) -> Grade:
        return self.task.grade(prediction, answer)

    def chance(self) -> Grade:
        return self.task.chance()

    def draw(self, puzzle: Puzzle, prediction: Tree | None) -> Sequence[Sequence[Panel]]:
        return self.task.draw(puzzle._replace(question=_each(self._shown, puzzle.question)), prediction)

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


class OneFrame(Backbone):
    """A network for clips as one for images: what a task for images is built from, and follows.

    Args:
        backbone: reads clips.

    """

    axes = "hw"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim, self.stages = backbone.dim, dict(backbone.stages)

    def forward(self, x: Tensor) -> Features:
        """Look at images (N, C, H, W) as clips of one frame."""
        return _still(self.backbone(x.unsqueeze(2)))


def _still(features: Features) -> Features:
    """Average out the axis of time of maps (N, D, t, h, w)."""
    return features._replace(
        stages={name: map_.mean(2) if map_.ndim == 5 else map_ for name, map_ in features.stages.items()}
    )


def _each(change: Callable[[Tensor], Tensor], question: Tree) -> Tree:
    """Change every tensor of a question."""
    if isinstance(question, Tensor):
        return change(question)
    if isinstance(question, dict):
        return {name: _each(change, part) for name, part in question.items()}
    parts = [_each(change, part) for part in question]
    return type(question)(*parts) if hasattr(question, "_fields") else tuple(parts)
