"""Features of VGG19 with weights that a user has: what perceptual losses compare (https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pretext.backbones.pretrained.read import read_tensors
from pretext.core.errors import require, require_input

Layer = Literal["relu2_2", "relu5_4"]
CONVOLUTIONS = (2, 2, 4, 4, 4)  # of each block, of 64, 128, 256, 512 and 512 channels; VGG19's
BLOCKS = {"relu2_2": 2, "relu5_4": 5}  # up to the last activation of this block
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Map images (N, 3, H, W) in [0, 1] to features of a frozen VGG19, (N, C, H / 2^b, W / 2^b), b = 1 or 4.

    Its weights are no parameters and are not in checkpoints: they are the file's.

    Args:
        file: a state dict of `torchvision.models.vgg19` (its "features.0.weight" and so on), as .pth or .safetensors.
        layer: "relu2_2", 128 channels at half the side, or "relu5_4", 512 at a sixteenth.

    Raises:
        ValueError: another layer; a file that cannot be read safely, or that holds something else.
        OSError: there is no such file.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, file: str, layer: Layer = "relu5_4") -> None:
        super().__init__()
        require(layer in BLOCKS, self, f"{layer=}", f"choose one of {', '.join(BLOCKS)}")
        self.blocks = BLOCKS[layer]
        tensors = read_tensors(Path(file)).tensors
        for i in chain(*self._places()):
            for kind, dims in (("weight", 4), ("bias", 1)):
                value = tensors.get(f"features.{i}.{kind}")
                got = f"{file} has no features.{i}.{kind} of {dims} dimensions"
                wanted = "give the weights of torchvision.models.vgg19, saved as a state dict"
                require(value is not None and value.ndim == dims, self, got, wanted)
                assert value is not None
                self.register_buffer(f"{kind}{i}", value.float(), persistent=False)
        for name, colour in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(colour).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Look at images.

        Raises:
            ValueError: they are no images in colour, or too small for so many halvings.

        """
        least = 2 ** (self.blocks - 1)
        fits = x.ndim == 4 and x.shape[1] == 3 and min(x.shape[-2:]) >= least
        require_input(fits, self, f"images (N, 3, H, W) of at least {least} x {least}", x, "use larger ones")
        y = (x.to(self.mean.dtype) - self.mean) / self.std
        for block, places in enumerate(self._places()):
            if block:
                y = functional.max_pool2d(y, 2)
            for i in places:
                y = functional.relu(
                    functional.conv2d(y, self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}"), padding=1)
                )
        return y

    def _places(self) -> list[list[int]]:
        """Number the convolutions of each block as torchvision does, which counts activations and poolings too."""
        places, i = [], 0
        for count in CONVOLUTIONS[: self.blocks]:
            places.append([i + 2 * k for k in range(count)])
            i += 2 * count + 1
        return places
