"""How well do masks agree: intersection over union, its interval, and the baseline of colours alone."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pretext.core import ranks
from pretext.core.types import Backbone, Features
from pretext.evaluation.statistics.intervals import Interval

IGNORED = 255
"""In an answer: a pixel that is not judged."""
DRAWS = 1000  # of the bootstrap: the ends of its interval then move by about 3 % of the interval's width


class Colours(Backbone):
    """No network at all: the colour of every pixel as the only stage, what a dense probe must be compared with."""

    axes = "hw"

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.stages = 3, {"colours": 3}
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)  # a host asks for the type of the weights

    def forward(self, x: Tensor) -> Features:
        colours = self.scale * x
        return Features({"colours": colours}, colours.mean((-2, -1)))


def loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Average the cross-entropy over judged pixels, 0 if there is none: (N, K, H, W) and (N, H, W) to ()."""
    cost = F.cross_entropy(logits, answer.long(), ignore_index=IGNORED, reduction="sum")
    return ranks.total(cost) / ranks.total((answer != IGNORED).sum()).clamp(min=1)


def confusion(prediction: Tensor, answer: Tensor, classes: int) -> Tensor:
    """Count the pixels of each image by what they are and what they were taken for.

    Args:
        prediction: (N, H, W), classes from 0 to K - 1.
        answer: (N, H, W), likewise, or 255 where a pixel is not judged.
        classes: K.

    Returns:
        (N, K, K) int64: [n, a, p] pixels of class a in image n that were called p. Sum over n for the whole set.

    Raises:
        ValueError: the shapes differ, or a class lies outside 0 to K - 1.

    """
    if prediction.shape != answer.shape:
        raise ValueError(f"confusion got predictions {tuple(prediction.shape)} but answers {tuple(answer.shape)}")
    judged = answer != IGNORED
    image = torch.arange(len(answer), device=answer.device).view(-1, *(1,) * (answer.ndim - 1)).expand_as(answer)
    said, true = prediction[judged].long(), answer[judged].long()
    for what, values in (("predictions", said), ("answers", true)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(
                f"confusion got {what} from {int(values.min())} to {int(values.max())}; it wants 0 to {classes - 1}, "
                f"and {IGNORED} in answers for pixels that are not judged"
            )
    cells = (image[judged] * classes + true) * classes + said
    return cells.bincount(minlength=len(answer) * classes**2).view(-1, classes, classes)


def iou(confusion: Tensor) -> Tensor:
    """Divide each class's intersection by its union: (..., K, K) counts to (..., K) float64.

    A class that is neither there nor predicted has no union; its value is NaN.
    """
    confusion = confusion.double()
    both = confusion.diagonal(dim1=-2, dim2=-1)
    return both / (confusion.sum(-1) + confusion.sum(-2) - both)


def mean_iou(confusion: Tensor) -> Tensor:
    """Average `iou` over the classes that are there or predicted: (..., K, K) counts to (...)."""
    return iou(confusion).nanmean(-1)


def interval(confusions: Tensor, rng: Generator, draws: int = DRAWS) -> Interval:
    """Bound the mean IoU of a set with 95 % confidence: percentiles of a bootstrap over images.

    Images are drawn, not pixels: those of one image are right or wrong together. (Efron, 1979.)

    Args:
        confusions: (N, K, K) of each image, on the CPU.
        rng: on the CPU, the only source of randomness.
        draws: sets of N images that are drawn with replacement.

    Raises:
        ValueError: there is no image, or no draw.

    """
    items = len(confusions)
    if items == 0 or draws < 1:
        raise ValueError(f"interval got {items} images and draws={draws}; it wants at least one of each")
    rows = confusions.flatten(1).double()
    sums = [
        torch.randint(items, (items,), generator=rng).bincount(minlength=items).double() @ rows for _ in range(draws)
    ]
    scores = mean_iou(torch.stack(sums).view(draws, *confusions.shape[1:]))
    low, high = scores[~scores.isnan()].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(low, high)


def constant(confusion: Tensor, named: int) -> float:
    """Compute the mean IoU of calling every pixel `named`, from the (K, K) counts of any prediction."""
    blind = torch.zeros_like(confusion)
    blind[:, named] = confusion.sum(-1)
    return float(mean_iou(blind))
