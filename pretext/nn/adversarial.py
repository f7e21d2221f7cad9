"""An opponent for tasks that draw pixels: it tells theirs from real ones, and they learn to be taken for real."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from pretext.core.errors import require, require_input
from pretext.core.types import Grade
from pretext.nn.heads import small
from pretext.ops.geometric import MEAN, SPREAD


class Discriminator(nn.Module):
    """Tell real images (N, channels, H, W) in [0, 1] from made ones, as logits (N,) that are high for real.

    Three convolutions that halve the sides, LeakyReLU after each, a last one and the mean over places, so that any size
    of 4 px and more will do. They are 4 wide at stride 2, so that every pixel is covered equally often and the
    gradient has no chequered pattern; padded by 2, so that 4 pixels never shrink to none. There is no batch norm: the
    statistics of a batch would tell real from made without a look at the single image.

    Raises:
        ValueError: `channels` or `width` is less than 1.

    """

    def __init__(self, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        require(min(channels, width) >= 1, self, f"{channels=}, {width=}", "both must be at least 1")
        layers: list[nn.Module] = []
        inside = channels
        for outside in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(inside, outside, 4, stride=2, padding=2), nn.LeakyReLU(0.2)]
            inside = outside
        self.layers = nn.Sequential(*layers, small(nn.Conv2d(inside, 1, 3, padding=1)))  # starts undecided

    def forward(self, x: Tensor) -> Tensor:
        """Judge images (N, channels, H, W).

        Raises:
            ValueError: the images have another number of dimensions, or less than 4 pixels a side.

        """
        fits = x.ndim == 4 and min(x.shape[-2:]) >= 4
        require_input(fits, self, "images (N, C, H, W) of at least 4 x 4", x, "use larger ones")
        weight = next(self.parameters())  # bfloat16 where the weights are, whatever the task's images are
        logits: Tensor = self.layers((x.to(weight.dtype) - MEAN) / SPREAD)
        return logits.mean((1, 2, 3))


def adversarial(discriminator: nn.Module, real: Tensor, fake: Tensor, weight: float | Tensor) -> Grade:
    """Grade a discriminator, and let `fake` follow the gradient of -log D(fake): one loss, one step, both players.

    The discriminator learns at the full rate whatever `weight` is. What made `fake` does not climb the same loss,
    log(1 - D), whose gradient fades where the discriminator wins, but descends -log D (the non-saturating game of
    https://arxiv.org/abs/1406.2661, as SRGAN and the context encoder have it). That has a gradient, but adds 0 to the
    loss, so that a blind guess costs the same whatever the weight.

    Args:
        discriminator: gives logits (N,), high for real.
        real: (N, C, H, W); receives no gradient.
        fake: (M, C, H, W).
        weight: of -log D(fake), the mean over images.

    Returns:
        Its cross entropy on the real images plus that on the made ones, 2 ln 2 nats if it is undecided, and its
        accuracy as "discriminator" (equal logits of 0 are half right where N = M).

    """
    for_real, for_fake = discriminator(real.detach()).float(), discriminator(fake.detach()).float()
    loss = softplus(-for_real).mean() + softplus(for_fake).mean()
    as_it_is = {name: part.detach() for name, part in discriminator.named_parameters()}
    unlike = softplus(-functional_call(discriminator, as_it_is, fake).float()).mean()  # -log D
    right = torch.cat([for_real > 0, for_fake <= 0])
    return Grade(loss + weight * (unlike - unlike.detach()), {"discriminator": right.float().mean()})
