"""https://arxiv.org/abs/2002.05709 (Chen et al.: SimCLR, ICML 2020): which two views are of one image?"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require
from pretext.core.ranks import gathered, gathered_rows
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.losses import cosines, nt_xent, ranking_of_partners
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import drawable
from pretext.views.augment import Augment
from pretext.views.latent.views import LatentViews


def small_images() -> Augment:
    """Build the paper's augmentation for 32 px: everything but the blur, colour at half strength (appendix B.9)."""
    crops = partial(Augment, scale=(0.08, 1.0), aspect=(3 / 4, 4 / 3))
    return crops(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8, grey=0.2)


class Contrast(Task):
    """Find an image's other view among all views of the batch.

    Two views of every image are drawn apart, on the device. Their colours have to differ: where they do not, the
    histogram alone tells most views of one image from those of others, and little else is learnt (the paper, 3.1).

    The loss is the paper's NT-Xent divided by ln(2 N - 1), so that a blind guess costs 1 whatever the batch. To an SGD
    with weight decay that is another loss: for the paper's, give that number to `Fixed` as the task's weight. Views are
    compared within the batch, that of all devices in training: use as many images as fit, since the others are the
    wrong answers.

    The head is linear, ReLU, linear, without batch norm, which would let the views of a batch see one another.

    Args:
        backbone: what learns; the head sees its pooled features.
        views: makes a view of an image; none: the paper's for small images. It alone sets the side of the views. Where
            the host augments as well, both views come from one augmented image, so that its crop only takes away.
            `LatentViews` makes both views of a pair by a generator.
        temperature: of the similarities, which are cosines; the lower, the more the most similar others count.
        width: of the head's hidden layer; none: the backbone's.
        outputs: size of the embedding.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        views: Augment | LatentViews | None = None,
        temperature: float = 0.5,
        width: int | None = None,
        outputs: int = 128,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        width = backbone.dim if width is None else width
        require(temperature > 0, self, f"{temperature=}", "give a positive one, such as 0.5")
        require(min(width, outputs) >= 1, self, f"{width=}, {outputs=}", "give at least 1 of each")
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
        answer, prediction = gathered_rows(answer, len(prediction)), gathered(prediction)
        if len(prediction) == 2:
            return self.chance()._replace(loss=1 + 0 * prediction.float().sum())
        loss = nt_xent(prediction, self.temperature, answer) / math.log(len(prediction) - 1)
        return Grade(loss, {"ranking": ranking_of_partners(prediction, answer)})

    def choice_scores(self, prediction: Tensor) -> Tensor:
        """Score each other view by its cosine; itself it cannot be, -1."""
        itself = torch.eye(len(prediction), dtype=torch.bool, device=prediction.device)
        return cosines(prediction).masked_fill(itself, -1)

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"ranking": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw both views of each image, and the view that the prediction finds most similar to the first."""
        views, partners = drawable(puzzle.question), puzzle.answer.cpu()
        first, other = views[::2], views[partners[::2]]
        columns = [panels(first, "which view is of the same image?"), panels(other, "answer: its other view")]
        if prediction is not None:
            itself = torch.eye(len(views), dtype=torch.bool)
            nearest = cosines(prediction.detach().cpu()).masked_fill(itself, -math.inf).argmax(1)[::2]
            pairs = zip(nearest.tolist(), partners[::2].tolist(), strict=True)
            names = ["its other view" if i == own else f"a view of image {i // 2 + 1}" for i, own in pairs]
            columns.append(panels(views[nearest], [f"prediction: {x}" for x in names], nearest == partners[::2]))
        return rows(*columns)

    def extra_repr(self) -> str:
        sizes = f"width={self.head[0].out_features}, outputs={self.head[2].out_features}"
        return f"temperature={self.temperature}, {sizes}, views: {self.views.extra_repr()}"
