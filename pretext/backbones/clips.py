"""What networks that read clips share: their normalisation, and convolutions that are safe in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Constants = tuple[float, ...]

# By the channels of a clip: rgb, Kinetics' as torchvision's video models have it; grey, what most take for images of
# one channel; flow, no motion (128) and a spread for which the largest motion that a byte can hold is 5 deviations.
# Batch norm behind the first convolution makes up for any other spread: only the order of size matters.
MEANS: dict[int, Constants] = {3: (0.43216, 0.394666, 0.37645), 1: (0.45,), 2: (128 / 255, 128 / 255)}
STDS: dict[int, Constants] = {3: (0.22803, 0.22145, 0.216989), 1: (0.225,), 2: (0.1, 0.1)}


class NormaliseClips(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation; the input's dtype is kept.

    The constants are not in the state dict, which so stays torchvision's: they are constructor arguments of a backbone.

    Args:
        channels: of the clips: 3 rgb, 1 grey, 2 flow; another number needs both constants.
        mean: of each channel in [0, 1]; none: the usual of that many channels.
        std: standard deviation of each channel; none: the usual.
        asker: the backbone's name, for messages.

    Raises:
        ValueError: there are no such channels, or not one constant for each.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: Constants | None, std: Constants | None, asker: str) -> None:
        super().__init__()
        mean = tuple(MEANS.get(channels, ()) if mean is None else mean)
        std = tuple(STDS.get(channels, ()) if std is None else std)
        if channels < 1 or len(mean) != channels or len(std) != channels or min(std) <= 0:
            raise ValueError(
                f"{asker}: channels={channels} needs a mean and a positive std for each, got {mean} and {std}; "
                f"leave both out for 3 (rgb), 1 (grey) or 2 (flow)"
            )
        self.constants = (mean, std)  # as they were given, whatever dtype the buffers are moved to
        self.asker = asker
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float clips (N, C, T, H, W) in [0, 1], and lay them out channel by channel last.

        oneDNN and cuDNN convolve such clips faster: on a CPU, the small `R2Plus1D` trains 1.4 times as fast.

        Raises:
            TypeError: `x` is not float.
            ValueError: `x` is not (N, C, T, H, W).

        """
        if not x.is_floating_point():
            raise TypeError(f"{self.asker}: reads clips of floats in [0, 1], got {x.dtype}; divide bytes by 255")
        channels = len(self.constants[0])
        if x.ndim != 5 or x.shape[1] != channels:
            raise ValueError(
                f"{self.asker}: reads clips (N, {channels}, T, H, W), got {tuple(x.shape)}; build it with other "
                f"channels, or give images as clips of one frame, x[:, :, None]"
            )
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return ((x - self.mean) / self.std).to(x.dtype)  # float32 buffers, so bfloat16 is rounded once, at the end


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that computes maps smaller than its kernel in full precision on the CPU.

    Seen with torch 2.14 on AVX-512: in bfloat16, where a kernel is longer than the map in some direction, the gradient
    of weights that only ever meet padding holds uninitialised memory (it should be 0), and for some shapes the heap is
    corrupted and the process dies. Strides do not matter: 3x1x1 on two frames is enough, and short clips always end in
    such maps. They are tiny, so exact arithmetic costs little there. (`Strided` is the same for images.)
    """

    @classmethod
    def of(cls, convolution: nn.Conv3d) -> Conv3d:
        """Make one of the same shape that shares the weights."""
        c = convolution
        assert isinstance(c.padding, tuple)
        with torch.device("meta"):
            made = cls(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, c.dilation, c.groups)  # type: ignore[arg-type]  # triples all
        made.weight, made.bias = c.weight, c.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or all(s >= k for s, k in zip(x.shape[-3:], self.kernel_size, strict=True)):
            return super().forward(x)
        exact = torch.promote_types(self.weight.dtype, torch.float32)  # float64 stays
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.to(exact)
            weight = self.weight.to(exact)
            y = F.conv3d(x.to(exact), weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return y.to(x.dtype)


def guard(model: nn.Module) -> None:
    """Put `Conv3d` in the place of every convolution of clips, in place; weights and their names stay."""
    for path, part in list(model.named_modules()):
        if isinstance(part, nn.Conv3d) and not isinstance(part, Conv3d):
            model.set_submodule(path, Conv3d.of(part))
