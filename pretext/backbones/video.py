"""Backbones for clips: torchvision's video models, their stages tapped where the resolution changes."""

from __future__ import annotations

from difflib import get_close_matches

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.backbones.clips import Constants, NormaliseClips, guard
from pretext.backbones.image import _replace
from pretext.core.types import Backbone, Features

Parts = dict[str, str | None]
"""What is run of torchvision's model, in order: the path of each part, and the name of the stage that ends with it."""

RESNET: Parts = {part: part for part in ("stem", "layer1", "layer2", "layer3", "layer4")}
S3D: Parts = {f"features.{i}": f"features_{i}" if i in (3, 6, 12, 15) else None for i in range(16)}
S3D["features.0"] = "stem"
SWIN: Parts = {"patch_embed": None, "pos_drop": None}
SWIN |= {f"features.{i}": f"features_{i}" if i in (0, 2, 4) else None for i in range(7)}
SWIN["norm"] = "features_6"
MODELS = dict.fromkeys(("r2plus1d_18", "r3d_18", "mc3_18"), RESNET) | {"s3d": S3D}
MODELS |= dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), SWIN)


class TorchVideo(Backbone):
    """One of torchvision's video models by name, at random initialisation, without its classifier.

    A stage is the output of the last part of the network at each resolution, (N, D, t, h, w): of a ResNet `stem`,
    `layer1` ... `layer4`; of the others named after torchvision's module (`features.3` is `features_3`), S3D's first
    `stem`, Swin's last one after its final norm. `pooled` is the mean over the last stage.

    `net` is the trunk alone: its state dict is torchvision's without the classifier, and no weight is without use. Any
    clip will do, one of a single frame included.

    Args:
        name: r2plus1d_18, r3d_18, mc3_18, s3d, swin3d_t, swin3d_s or swin3d_b. (MViT reads clips of one size only.)
        channels: of the clips: 3 rgb, 1 grey, 2 flow; the first convolution has so many inputs.
        mean: of each channel in [0, 1], subtracted; none: the usual of that many channels.
        std: standard deviation of each channel, divided by; none: the usual.

    Raises:
        ValueError: an unknown name, or constants that do not fit the channels.

    """

    axes = "thw"

    def __init__(
        self,
        name: str = "r2plus1d_18",
        channels: int = 3,
        mean: Constants | None = None,
        std: Constants | None = None,
    ) -> None:
        super().__init__()
        if name not in MODELS:
            close = get_close_matches(name, MODELS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}? There are" if close else "choose one of"
            raise ValueError(f"TorchVideo: has no video model {name!r}; {hint} {', '.join(MODELS)}")
        self.name, self.channels = name, channels
        self.normalise = NormaliseClips(channels, mean, std, "TorchVideo")
        model = torchvision.models.get_model(name, weights=None)
        self.adaptation = [] if channels == 3 else [_first(model, channels)]
        self.net = _Trunk(model, MODELS[name])
        with torch.device("meta"):  # channels without computing
            ghost = _Trunk(torchvision.models.get_model(name, weights=None), MODELS[name])
            self.stages = {key: stage.shape[1] for key, stage in ghost(torch.zeros(1, 3, 16, 64, 64)).items()}
        self.last = next(reversed(self.stages))
        self.dim = self.stages[self.last]

    def forward(self, x: Tensor) -> Features:
        stages: dict[str, Tensor] = self.net(self.normalise(x))
        return Features(stages, stages[self.last].mean((-3, -2, -1)))

    def weights(self) -> dict[str, Tensor]:
        """Return the trunk's state dict such that torchvision's own model loads it, `strict=False`."""
        weights: dict[str, Tensor] = self.net.state_dict()
        return weights


class _Trunk(nn.Module):
    """The parts of a torchvision model before its classifier, under torchvision's names; it returns the stages."""

    def __init__(self, model: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        for name in dict.fromkeys(path.split(".")[0] for path in parts):
            self.add_module(name, model.get_submodule(name))
        guard(self)
        for path, part in list(self.named_modules()):
            if isinstance(part, nn.MaxPool3d) and part.padding == (0, 0, 0):
                self.set_submodule(path, _Pool(part.kernel_size, part.stride))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs = {}
        for path, stage in self.parts.items():
            x = self.get_submodule(path)(x)
            if stage is not None:
                outputs[stage] = (
                    x.permute(0, 4, 1, 2, 3) if "patch_embed" in self.parts else x
                )  # Swin's channels are last
        return outputs


class _Pool(nn.MaxPool3d):
    """Max pooling whose kernel shrinks to what there is: S3D's last pooling on a clip of few frames."""

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.kernel_size, tuple)
        kernel = tuple(min(k, s) for k, s in zip(self.kernel_size, x.shape[-3:], strict=True))
        return F.max_pool3d(x, kernel, self.stride)


def _first(model: nn.Module, channels: int) -> str:
    """Give the first convolution other inputs, and return the Python that does so in torchvision's model."""
    path, old = next((p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv3d))
    assert isinstance(old.padding, tuple)
    new = nn.Conv3d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)  # type: ignore[arg-type]  # triples all
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # He et al., as torchvision's ResNets
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    return _replace(model, path, new)
