"""Networks with fewer channels everywhere: what a width option means, and how a torchvision model gets one."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from pretext.backbones.stages import HEAD


def check_width(width: float, asker: str) -> None:
    """Refuse a width that is no positive number.

    Raises:
        ValueError: it is none.

    """
    if not 0 < width < math.inf:
        raise ValueError(f"{asker}: width multiplies all channels and must be above 0, got {width}; 0.5 halves them")


def scaled(channels: int, width: float) -> int:
    """Multiply a number of channels by `width`, rounded, at least 1."""
    return channels if width == 1 else max(1, round(channels * width))


def scale(model: nn.Module, name: str, width: float, size: int) -> None:
    """Give every convolution and batch norm of a torchvision model `width` times its channels, and take its classifier.

    Channels are rounded by their number alone, so that maps which are added still fit. The new layers start with He et
    al.'s variance by the number of outputs and no bias: torchvision's way for ResNet, RegNet, VGG, MobileNet,
    MNASNet and EfficientNet, and a sound one where torchvision has another (AlexNet, DenseNet, SqueezeNet, Inception).

    Args:
        model: changed in place.
        name: torchvision's, for messages.
        width: factor.
        size: side of images that `model` can read; one is sent through without computing, to see that all layers fit.

    Raises:
        ValueError: a layer that is neither, as in transformers, or widths that do not fit together after rounding.

    """
    for child, _ in list(model.named_children()):
        if child in HEAD - {"avgpool"}:
            model.set_submodule(child, nn.Identity())  # its inputs are flattened maps, and no feature needs it
    for path, part in list(model.named_modules()):
        if not isinstance(part, nn.Conv2d | nn.BatchNorm2d) and any(True for _ in part.parameters(recurse=False)):
            raise ValueError(
                f"TorchVision: {name} has no width option, because {path or 'its root'} ({type(part).__name__}) is "
                f"neither a convolution nor batch norm; choose a convolutional network such as resnet18, or width=1"
            )
    first = True
    for path, part in list(model.named_modules()):
        if isinstance(part, nn.Conv2d):
            model.set_submodule(path, _convolution(part, name, width, first))
            first = False
        elif isinstance(part, nn.BatchNorm2d):
            norm = nn.BatchNorm2d(scaled(part.num_features, width), part.eps, part.momentum)
            model.set_submodule(path, norm)
    _check(model, name, width, size)


def _convolution(old: nn.Conv2d, name: str, width: float, first: bool) -> nn.Conv2d:
    """Make the same convolution with other channels; the first one goes on reading RGB."""
    inputs = old.in_channels if first else scaled(old.in_channels, width)
    outputs = scaled(old.out_channels, width)
    groups = inputs if old.groups == old.in_channels > 1 else old.groups  # one group per channel stays that
    if inputs % groups or outputs % groups:
        raise ValueError(
            f"TorchVision: {name} with width={width} would have a convolution of {inputs} to {outputs} channels in "
            f"{groups} groups, which must divide both; choose another width such as 0.5"
        )
    assert isinstance(old.padding, tuple)
    bias = old.bias is not None
    new = nn.Conv2d(inputs, outputs, old.kernel_size, old.stride, old.padding, old.dilation, groups, bias)  # type: ignore[arg-type]  # pairs all
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    return new


def _check(model: nn.Module, name: str, width: float, size: int) -> None:
    """Send the shape of an image through a copy of `model`."""
    ghost = copy.deepcopy(model).to("meta").eval()
    try:
        ghost(torch.zeros(1, 3, size, size, device="meta"))
    except RuntimeError as error:
        raise ValueError(
            f"TorchVision: the rounded channels of {name} with width={width} do not fit together ({error}); choose a "
            f"width that leaves whole numbers, such as 0.5, or a network that joins no maps, such as resnet18"
        ) from error
