"""Backbones for images: any torchvision classification model, its stages found in its graph."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn

from pretext.backbones.pretrained.match import Loaded, load_weights
from pretext.backbones.stages import HEAD, Layout, prune, tap
from pretext.backbones.strided import Strided
from pretext.backbones.width import check_width, scale
from pretext.core.types import Backbone, Features

RGB = tuple[float, float, float]
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)

SIZED = {"vit_": "image_size", "maxvit_": "input_size"}  # families built for one image size, and its name there
# Auxiliary classifiers would be weights that no feature uses; naming the initialisation is what torchvision warns for.
AUXILIARY = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}
SIZE = 224  # of the images that the sized families read unless told otherwise
PROBE = 480  # size at which every other family is measured: large, so that unpadded borders do not blur the strides


class Normalise(nn.Module):
    """Subtract the mean of each colour and divide by its standard deviation; the input's dtype is kept.

    The constants are not in the state dict, which so stays torchvision's: they are constructor arguments of a backbone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD) -> None:
        super().__init__()
        self.constants = (mean, std)  # as they were given, whatever dtype the buffers are moved to
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise floats (N, 3, H, W) in [0, 1]; one channel, grey, becomes three equal ones.

        Raises:
            TypeError: `x` is not float.
            ValueError: `x` is neither (N, 3, H, W) nor (N, 1, H, W).

        """
        if not x.is_floating_point():
            raise TypeError(f"Normalise: an image backbone reads floats in [0, 1], got {x.dtype}; divide bytes by 255")
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"Normalise: an image backbone reads (N, 3, H, W) or grey, got {tuple(x.shape)}")
        return ((x - self.mean) / self.std).to(x.dtype)  # float32 buffers, so bfloat16 is rounded once, at the end


class TorchVision(Backbone):
    """Any torchvision classification model by name, without its classifier, at random initialisation or from a file.

    A stage is the output of the last part of the network at each resolution: for a ResNet `stem` (after the first
    activation; the max pooling that follows already is layer1's resolution), `layer1` ... `layer4`. `stem` is the first
    stage where a single convolution leads to it; all others are called after torchvision's module (`features.3`
    becomes `features_3`). A ViT has four, evenly spaced, the last after its final norm, each without the class token.
    Every stage is (N, D, h, w). `pooled` is the mean over the last stage, for a ViT the class token.

    `net` is the trunk alone: its state dict is torchvision's without the classifier, and no weight is without use. Any
    image size will do that the network does not pool away; ViT and MaxVit read `image_size` (224) only.

    Args:
        name: as in `torchvision.models.list_models(module=torchvision.models)`.
        stem: "small", for images up to 64 px, makes the first convolution 3x3 and leaves the first max pooling out.
        stem_stride: stride of that small first convolution, 1 or 2.
        image_size: side of the images, for the families that are built for one size.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.
        width: all channels times this, rounded; the weights then fit no model of torchvision's own.
        weights: file to fill the trunk from, of torchvision or another project or by `pretext export` (see
            `load_weights`). It is read whenever this is built: a run that names it needs it again to be resumed.
            torchvision's own weights of GoogLeNet and Inception want a mean and std of 0.5 for all colours.

    Raises:
        ValueError: unknown name, an option that this family does not have, or a file of another network.
        OSError: there is no such file.

    """

    axes = "hw"

    def __init__(
        self,
        name: str = "resnet18",
        stem: Literal["imagenet", "small"] = "imagenet",
        stem_stride: int = 1,
        image_size: int | None = None,
        mean: RGB = IMAGENET_MEAN,
        std: RGB = IMAGENET_STD,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_width(width, "TorchVision")
        if stem not in ("imagenet", "small") or stem_stride not in ((1, 2) if stem == "small" else (1,)):
            raise ValueError(
                f"TorchVision: stem is 'imagenet' or 'small', only the latter with a stem_stride, 1 or 2; "
                f"got stem={stem!r}, stem_stride={stem_stride}"
            )
        self.name, self.stem, self.stem_stride, self.width = name, stem, stem_stride, width
        self.options, self.image_size = _options(name, image_size)
        model = _build(name, self.options)
        if width != 1:
            scale(model, name, width, self.image_size or PROBE)
        changes = _small_stem(model, name, stem_stride) if stem == "small" else {}
        built = (name, width, *self.options.items())
        graph, taps = tap(
            model, self.image_size or PROBE, built
        )  # before the changes: they make two stages of one size
        self.adaptation = [_replace(model, path, module) for path, module in changes.items()]
        self.loaded: Loaded | None = None
        if weights is not None:  # into the whole model: its modules know how to read torchvision's older files
            told = {"name": name, "stem": stem, "stem_stride": stem_stride, "width": width, "options": self.options}
            self.loaded = load_weights(model, weights, tuple(HEAD), told=told | {"mean": mean, "std": std})
        guard(model)
        self.version: int = model._version
        self.normalise = Normalise(mean, std)
        self.net = prune(model, graph)
        self.layouts = {tap.name: tap.layout for tap in taps}
        self.stages = {tap.name: tap.channels for tap in taps}
        self.last, self.dim = taps[-1].name, taps[-1].channels

    def forward(self, x: Tensor) -> Features:
        if self.image_size is not None and x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"TorchVision: {self.name} was built for {self.image_size} x {self.image_size} px, got "
                f"{x.shape[-2]} x {x.shape[-1]}; crop or resize, or build it with image_size"
            )
        outputs: dict[str, Tensor] = self.net(self.normalise(x))
        stages = {name: _grid(outputs[name], layout) for name, layout in self.layouts.items()}
        tokens = self.layouts[self.last] == "nld"
        return Features(stages, outputs[self.last][:, 0] if tokens else stages[self.last].mean((-2, -1)))

    def weights(self) -> dict[str, Tensor]:
        """Return the trunk's state dict such that torchvision's own model (of this width) loads it, `strict=False`."""
        weights: dict[str, Tensor] = self.net.state_dict()
        weights._metadata[""]["version"] = self.version  # type: ignore[attr-defined]  # MNASNet has two
        return weights


def guard(model: nn.Module) -> None:
    """Put `Strided` in the place of every convolution that may need it, in place; weights and their names stay."""
    for path, part in list(model.named_modules()):
        if type(part) is nn.Conv2d and part.stride != (1, 1) and part.kernel_size > part.stride:
            model.set_submodule(path, Strided.of(part))


def _grid(x: Tensor, layout: Layout) -> Tensor:
    """Turn what a network calls a feature map, in any layout, into (N, D, h, w)."""
    if layout == "nhwc":
        return x.permute(0, 3, 1, 2)
    if layout == "nld":
        n, tokens, d = x.shape  # 1 + h*w tokens, the class token first
        side = math.isqrt(tokens - 1)
        return x[:, 1:].transpose(1, 2).reshape(n, d, side, side)
    return x


def _options(name: str, image_size: int | None) -> tuple[dict[str, Any], int | None]:
    """Find what to build torchvision's model with, and the one image size that it reads, if there is only one."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = get_close_matches(name, known, n=5, cutoff=0.5)
        hint = "did you mean " + ", ".join(close) + "?" if close else "choose one of " + ", ".join(known)
        raise ValueError(f"TorchVision: torchvision has no classification model {name!r}; {hint}")
    for family, option in SIZED.items():
        if name.startswith(family):
            size = SIZE if image_size is None else image_size
            return {option: size if option == "image_size" else (size, size)}, size
    if image_size is not None:
        raise ValueError(f"TorchVision: {name} reads any image size; leave image_size={image_size} out")
    return AUXILIARY.get(name, {}), None


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    """Build torchvision's model at random initialisation."""
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    except (AssertionError, ValueError) as error:  # a size that the patches or windows do not divide
        raise ValueError(f"TorchVision: torchvision cannot build {name} with {options}: {error}") from error
    return model


def _small_stem(model: nn.Module, name: str, stride: int) -> dict[str, nn.Module]:
    """Make what has to be put in place, by path, for a stem that suits small images."""
    path, first = next((p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if first.kernel_size == first.stride or name.startswith(tuple(SIZED)):
        raise ValueError(
            f"TorchVision: {name} has no small stem, because it cuts the image into patches or is built for one image "
            f"size; choose a convolutional network such as resnet18, or stem='imagenet'"
        )
    small = nn.Conv2d(3, first.out_channels, 3, stride, padding=1, bias=first.bias is not None)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")  # as in He et al.'s ResNet
    if small.bias is not None:
        nn.init.zeros_(small.bias)
    pools = [p for p, m in model.named_modules() if isinstance(m, nn.MaxPool2d)]
    return {path: small} | {pool: nn.Identity() for pool in pools[:1]}


def _replace(model: nn.Module, path: str, module: nn.Module) -> str:
    """Put `module` in place and return the Python that does so in torchvision's: `model.features[0] = ...`."""
    model.set_submodule(path, module)
    place = "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in path.split("."))
    return f"model{place} = torch.nn.{module!r}"
