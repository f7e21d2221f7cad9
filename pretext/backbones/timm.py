"""Backbones for images: any timm model that shows its stages (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from pretext.backbones.image import RGB, Normalise, guard
from pretext.backbones.pretrained.match import HEADS, Loaded, load_weights
from pretext.backbones.stages import TOKEN_STAGES
from pretext.core.types import Backbone, Features

SET = ("pretrained", "num_classes", "features_only", "in_chans", "img_size", "checkpoint_path", "pretrained_cfg")


class Timm(Backbone):
    """Any timm model by name, without its classifier, at random initialisation or from a file; nothing is downloaded.

    A stage is what timm calls an intermediate feature, the last at each resolution, named after timm's module
    (`layers.0` is `layers_0`); a network of one resolution (ViT, mixer) has four, evenly spaced. Every stage is
    (N, D, h, w), without class or register tokens; a ViT's last one is taken after its final norm. `pooled` is what
    timm's classifier would get, (N, dim).

    `net` is timm's model without its classifier, under timm's names. Most convolutional networks read any image size;
    those that timm builds for one size read `image_size` only.

    Args:
        name: as in `timm.list_models()`, with or without the tag of a recipe ("vit_small_patch16_224.dino").
        weights: file to fill the network from (see `load_weights`), read whenever this is built: a run that names it
            needs it again to be resumed.
        image_size: side of the images, for networks that are built for one size; none: the recipe's.
        mean: of each colour in [0, 1], subtracted; none: the recipe's, which differ even between ViTs.
        std: standard deviation of each colour, divided by; none: the recipe's.
        options: further options of timm, such as {"drop_path_rate": 0.1} or {"global_pool": "avg"}.

    Raises:
        ImportError: timm is not installed.
        ValueError: unknown name or option, a network without stages, or a file of another network.
        OSError: there is no such file.

    """

    axes = "hw"

    def __init__(
        self,
        name: str = "resnet18",
        weights: str | None = None,
        image_size: int | None = None,
        mean: RGB | None = None,
        std: RGB | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        model, self.image_size = _build(name, image_size, options or {})
        told = model.pretrained_cfg
        self.loaded: Loaded | None = None
        if weights is not None:
            head = told.get("classifier") or ()
            self.loaded = load_weights(model, weights, (head,) if isinstance(head, str) else (*HEADS, *head))
        guard(model)
        self.normalise = Normalise(tuple(mean or told["mean"]), tuple(std or told["std"]))
        self.net = model
        infos = list(model.feature_info)
        self.indices = _indices([info["reduction"] for info in infos])
        self.names = [str(infos[i]["module"]).replace(".", "_") for i in self.indices]
        self.stages, self.dim = self._measure(self.image_size or told["input_size"][-1])

    def forward(self, x: Tensor) -> Features:
        if self.image_size is not None and x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"Timm: {self.name} was built for {self.image_size} x {self.image_size} px, got "
                f"{x.shape[-2]} x {x.shape[-1]}; crop or resize, or build it with image_size"
            )
        return self._features(self.net, self.normalise(x))

    def _features(self, net: nn.Module, x: Tensor) -> Features:
        """Run timm's model on normalised images."""
        final, maps = net.forward_intermediates(x, indices=self.indices)  # type: ignore[operator]  # not Module's
        maps[-1] = _last(final, maps[-1])
        pooled: Tensor = net.forward_head(final, pre_logits=True)  # type: ignore[operator]
        return Features(dict(zip(self.names, maps, strict=True)), pooled)

    def _measure(self, size: int) -> tuple[dict[str, int], int]:
        """Find the channels of every stage and of `pooled`, without computing: on a copy on the meta device."""
        try:
            with torch.no_grad():
                ghost = copy.deepcopy(self.net).to("meta").eval()
                stages, pooled = self._features(ghost, torch.zeros(2, 3, size, size, device="meta"))
        except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
            raise ValueError(f"Timm: {self.name} does not show its stages ({error}); choose another network") from error
        if pooled.ndim != 2 or any(stage.ndim != 4 for stage in stages.values()):
            raise ValueError(
                f"Timm: {self.name} has no maps (N, D, h, w) or no vector of each image; choose another network"
            )
        return {name: stage.shape[1] for name, stage in stages.items()}, pooled.shape[1]


def one_size(name: str) -> int | None:
    """Return the side of the images for which timm builds a network (of this recipe), none where any size will do.

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such network.

    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("Timm: needs the package timm; pip install 'pretext-tasks[timm]', or timm itself") from error
    known = timm.list_models()
    if name.partition(".")[0] not in known:  # anything else, such as an address on a hub, timm would try to download
        close = get_close_matches(name, known, n=5, cutoff=0.5)
        hint = "did you mean " + ", ".join(close) + "?" if close else "see timm.list_models()"
        raise ValueError(f"Timm: timm has no model {name!r}; {hint}")
    try:
        told = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(name.partition(".")[0]))
        raise ValueError(f"Timm: {name!r}: {error}; timm has {tags or 'no recipe of it'}") from error
    return int(told.input_size[-1]) if told is not None and told.fixed_input_size else None


def _build(name: str, image_size: int | None, options: dict[str, Any]) -> tuple[Any, int | None]:
    """Build timm's model at random initialisation, and find the one image size that it reads, if there is only one."""
    usual = one_size(name)
    if mine := [option for option in options if option in SET]:
        raise ValueError(
            f"Timm: options cannot set {', '.join(mine)}; leave them out (image_size and weights stand alone)"
        )
    if usual is None and image_size is not None:
        raise ValueError(f"Timm: {name} reads any image size; leave image_size={image_size} out")
    size = image_size or usual
    if size != usual:
        options = options | {"img_size": size}
    import timm

    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (
        AssertionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # unknown tag or option, size that does not divide
        raise ValueError(f"Timm: timm cannot build {name} with {options}: {error}") from error
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "feature_info"):
        raise ValueError(f"Timm: {name} does not show its stages; choose another network, or wrap it in Wrapped")
    return model, size


def _indices(reductions: Sequence[int]) -> list[int]:
    """Choose the last stage of each resolution; of one resolution alone, evenly spaced ones."""
    if len(set(reductions)) == 1:
        count = min(TOKEN_STAGES, len(reductions))
        return [len(reductions) * i // count - 1 for i in range(1, count + 1)]
    return sorted({reduction: i for i, reduction in enumerate(reductions)}.values())


def _last(final: Tensor, grid: Tensor) -> Tensor:
    """Lay the tokens that a transformer ends with, those of patches come last, out like its last map (N, D, h, w)."""
    h, w = grid.shape[-2:]
    if final.ndim != 3 or final.shape[1] < h * w or final.shape[2] != grid.shape[1]:
        return grid  # another kind of network
    return final[:, -h * w :].transpose(1, 2).reshape(grid.shape)
