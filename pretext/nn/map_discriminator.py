"""A discriminator of maps: which domain is each place of a picture of?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from pretext.core.errors import require, require_input

SIDE = 32
"""The smallest maps that it takes, pixels."""


class MapDiscriminator(nn.Module):
    """Tell two domains of maps (N, channels, H, W) apart, place by place: logits (N, 1, H / 32, W / 32).

    Five convolutions, 4 wide at stride 2, with 64 to 512 channels and LeakyReLU 0.2 between them: DCGAN's, as AdvEnt
    (https://arxiv.org/abs/1811.12833) takes it.

    Args:
        channels: of the maps, one for each class.
        width: channels of the first layer.

    Raises:
        ValueError: no channel or no width.

    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        require(min(channels, width) >= 1, self, f"{channels=}, {width=}", "both must be at least 1")
        sizes = (channels, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for inside, outside in pairwise(sizes):
            layers += [nn.Conv2d(inside, outside, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 4, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Judge maps.

        Raises:
            ValueError: they have less than 32 pixels a side.

        """
        fits = x.ndim == 4 and min(x.shape[-2:]) >= SIDE
        require_input(fits, self, f"maps (N, C, H, W) of at least {SIDE} x {SIDE}", x, "use larger pictures and masks")
        judged: Tensor = self.layers(x)
        return judged
