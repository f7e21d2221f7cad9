"""A head that draws a picture from the deepest stage, and what it is worth: the bottleneck is the point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Panel, reads_images
from pretext.nn.decoder import Blind, Decoder, blind_picture, decode, relative_errors, stage_of
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import drawable


class PictureHead(nn.Module):
    """Draw (N, C, h, w) from one stage by six convolutions, as deviations from the batch's mean.

    Args:
        backbone: any that reads images.
        channels: of the picture.
        width: channels of the widest layer.
        stage: which is read; the deepest unless given.
        asker: the task, for messages.

    Raises:
        ValueError: the backbone reads no images, or has no such stage.

    """

    def __init__(self, backbone: Backbone, channels: int, width: int, stage: str | None, asker: object) -> None:
        super().__init__()
        reads_images(backbone, asker)
        require(width >= 4, asker, f"{width=}", "a quarter of it is left after the last layers: take 4 or more")
        self.stage, depth = stage_of(backbone, stage, asker)
        self.decoder = Decoder(depth, channels, width, places=1)

    def forward(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, C, h, w), in float32."""
        return decode(self.decoder(features.stages[self.stage], *given.picture.shape[2:]), given).squeeze(2)


def blind_guess(picture: Tensor) -> Blind:
    """Make the blind guess at pictures (N, C, h, w): the batch's mean of each channel."""
    return blind_picture(picture.unsqueeze(2))


def picture_errors(prediction: Tensor, answer: Tensor) -> Tensor:
    """Divide each squared error by that of the blind guess: (N,), whose mean is 1 where nothing is known."""
    return relative_errors(prediction.unsqueeze(2), answer.unsqueeze(2))


def picture_rows(
    question: Tensor, asked: str, answer: Tensor, prediction: Tensor | None, scale: bool = False
) -> list[list[Panel]]:
    """Draw the image, the answer and, if there is one, the prediction with its error.

    Args:
        question: (N, 3, H, W).
        asked: what is asked of it.
        answer: (N, 3, h, w), or (N, 1, h, w) in grey.
        prediction: likewise.
        scale: the largest value of an answer is white, for responses that have no fixed range.

    """
    largest = answer.detach().float().amax((1, 2, 3), keepdim=True).clamp(min=1e-6) if scale else torch.ones(())

    def show(picture: Tensor) -> Tensor:
        return drawable(picture.float() / largest.to(picture.device)).expand(-1, 3, -1, -1)

    columns = [panels(drawable(question), asked), panels(show(answer), "answer")]
    if prediction is not None:
        misses = picture_errors(prediction.detach(), answer).tolist()
        captions = [f"prediction: {miss:.2f} of a blind guess's error" for miss in misses]
        columns.append(panels(show(prediction.detach()), captions))
    return rows(*columns)
