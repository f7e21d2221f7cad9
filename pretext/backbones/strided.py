"""A strided convolution whose gradient is right on maps smaller than its kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Strided(nn.Conv2d):
    """`nn.Conv2d` that computes maps smaller than its kernel in float32 on the CPU.

    Seen with torch 2.14 on AVX-512: in bfloat16, the gradient of a 3x3 kernel of stride 2 on a map of one pixel holds
    uninitialised memory where a weight only ever meets padding (it should be 0), and training suddenly turns to NaN.
    Small images, above all Jigsaw's tiles, reach such maps. They are tiny, so exact arithmetic costs nothing there.
    """

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> Strided:
        """Make one of the same shape that shares the weights."""
        c = convolution
        assert isinstance(c.padding, tuple)
        with torch.device("meta"):
            made = cls(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, c.dilation, c.groups)  # type: ignore[arg-type]  # pairs all
        made.weight, made.bias = c.weight, c.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or (x.shape[-1] >= self.kernel_size[1] and x.shape[-2] >= self.kernel_size[0]):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.float()
            y = F.conv2d(x.float(), self.weight.float(), bias, self.stride, self.padding, self.dilation, self.groups)
        return y.to(x.dtype)
