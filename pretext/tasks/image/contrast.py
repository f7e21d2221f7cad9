"""https://arxiv.org/abs/2002.05709 (Chen et al.: SimCLR, ICML 2020): which two views are of one image?"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.losses import nt_xent
from pretext.ops.geometric import picture
from pretext.views.augment import Augment


def small_images() -> Augment:
    """Build the paper's augmentation for 32 px: everything but the blur, colour at half strength (appendix B.9)."""
    return Augment(
        scale=(0.08, 1.0),
        aspect=(3 / 4, 4 / 3),
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        jitter=0.8,
        grey=0.2,
    )


class Contrast(Task):
    """Find an image's other view among all views of the batch.

    Two views of every image are drawn apart, on the device. Their colours have to differ: where they do not, the
    histogram alone tells most views of one image from those of others, and little else is learnt (the paper, 3.1).

    The loss is the paper's NT-Xent divided by ln(2 N - 1), so that a blind guess costs 1 whatever the batch. Views are
    compared within the batch of one device: use as many images as fit, since the others are the wrong answers.

    The head is linear, ReLU, linear, without batch norm, which would let the views of a batch see one another.

    Args:
        backbone: what learns; the head sees its pooled features.
        views: makes a view of an image; none: the paper's for small images. It alone sets the side of the views. Where
            the host augments as well, both views come from one augmented image, so that its crop only takes away.
        temperature: of the similarities, which are cosines; the lower, the more the most similar others count.
        width: of the head's hidden layer; none: the backbone's.
        outputs: size of the embedding.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        views: Augment | None = None,
        temperature: float = 0.5,
        width: int | None = None,
        outputs: int = 128,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        if temperature <= 0:
            raise ValueError(f"Contrast: temperature is {temperature}; give a positive one, such as 0.5")
        width = backbone.dim if width is None else width
        if width < 1 or outputs < 1:
            raise ValueError(f"Contrast: width={width}, outputs={outputs}; give at least 1 of each")
        self.views = small_images() if views is None else views
        self.temperature = temperature
        # The last layer keeps its usual size: cosines do not depend on it, but their gradients grow as it shrinks.
        self.head = nn.Sequential(nn.Linear(backbone.dim, width), nn.ReLU(), nn.Linear(width, outputs))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Draw two views of images (N, 3, S, S): (2 N, 3, s, s) image by image; the answer is the other view's row.

        Raises:
            ValueError: `views` cannot be drawn from such images.

        """
        views = self.views(x.repeat_interleave(2, 0), rng).to(x.dtype)
        return Puzzle(views, torch.arange(len(views), device=x.device) ^ 1)

    def solve(self, features: Features, given: None) -> Tensor:
        """Give the embeddings (2 N, outputs)."""
        embeddings: Tensor = self.head(features.pooled)
        return embeddings

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        """Score the loss, and `ranking`: the share of other views that are less similar than the right one.

        A single image, such as a validation set may leave over, has nothing to be told from: it costs a blind guess.
        """
        if len(prediction) == 2:
            return self.chance()._replace(loss=1 + 0 * prediction.float().sum())
        loss = nt_xent(prediction, self.temperature, answer) / math.log(len(prediction) - 1)
        return Grade(loss, {"ranking": _ranking(prediction.detach(), answer)})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"ranking": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw both views of each image, and the view that the prediction finds most similar to the first."""
        views, partners = picture(puzzle.question), puzzle.answer.tolist()
        firsts = range(0, len(views), 2)
        rows = [
            [Panel(views[i], "which view is of the same image?"), Panel(views[partners[i]], "answer: its other view")]
            for i in firsts
        ]
        if prediction is not None:
            itself = torch.eye(len(views), dtype=torch.bool)
            nearest = _cosines(prediction.detach().cpu()).masked_fill(itself, -math.inf).argmax(1).tolist()
            for row, i in zip(rows, firsts, strict=True):
                right = nearest[i] == partners[i]
                found = "its other view" if right else f"a view of image {nearest[i] // 2 + 1}"
                row.append(Panel(views[nearest[i]], f"prediction: {found}", right))
        return rows

    def extra_repr(self) -> str:
        hidden, last = self.head[0].out_features, self.head[2].out_features
        views = self.views.extra_repr()
        return f"temperature={self.temperature}, width={hidden}, outputs={last}, views: {views}"


def _cosines(embeddings: Tensor) -> Tensor:
    """Compare all embeddings (M, D) with each other: (M, M)."""
    unit = functional.normalize(embeddings.float(), dim=1)
    return unit @ unit.mT


def _ranking(embeddings: Tensor, partners: Tensor) -> Tensor:
    """Tell the share of other views that are less similar than the partner; a tie counts half."""
    cosines, rows = _cosines(embeddings), torch.arange(len(embeddings), device=embeddings.device)
    right = cosines.gather(1, partners[:, None])
    others = (rows != rows[:, None]) & (rows != partners[:, None])
    beaten = (cosines < right).float() + 0.5 * (cosines == right).float()
    return (beaten * others).sum() / others.sum()
