"""Any network for images as a backbone: its stages are overheard."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalise
from pretext.backbones.pretrained.match import HEADS
from pretext.core.types import Backbone, Features

LEAST, MOST = 2, 5  # stages that are chosen where none are named


class _Heard(NamedTuple):
    """What one module said when the network looked at an image."""

    output: object
    version: int  # of the output's memory: it grows when something later overwrites it


class Wrapped(Backbone):
    """Any module that reads images (N, 3, H, W), with the outputs of some of its modules as stages.

    Each stage must be (N, D, h, w) and `pooled` (N, D) or (N, D, 1, 1). The whole module is run, its classifier too,
    whose parameters get no gradient. A module that reads images of one size only must be given that.

    Args:
        module: the network, which reads normalised images; it is kept, not copied.
        stages: by name, the path in the module, shallow to deep: {"layer1": "layer1", "mid": "features.4"}; none: the
            last output at each resolution above one pixel before the classifier, at most five, the lowest.
        pooled: path of the module whose output is the vector of an image, such as "avgpool"; none: the mean over the
            last stage.
        image_size: side of the image with which the module is measured once, when this is built.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.

    Raises:
        ValueError: no such path, an output of another shape or that a later module overwrites, or no stage is found.

    """

    axes = "hw"

    def __init__(
        self,
        module: nn.Module,
        stages: dict[str, str] | None = None,
        pooled: str | None = None,
        image_size: int = 224,
        mean: RGB = IMAGENET_MEAN,
        std: RGB = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.net = module
        self.vector = pooled
        known = [path for path, _ in module.named_modules() if path]
        if unknown := [p for p in [*(stages or {}).values(), *([pooled] if pooled else [])] if p not in known]:
            raise ValueError(
                f"Wrapped: {type(module).__name__} has no module at {', '.join(unknown)}; its parts are "
                f"{', '.join(name for name, _ in module.named_children())} and what is in them"
            )
        heard = _measure(module, known, image_size)
        self.paths = _found(heard, type(module).__name__) if stages is None else dict(stages)
        self.stages = {name: _checked(name, path, heard).shape[1] for name, path in self.paths.items()}
        self.dim = (
            next(reversed(self.stages.values())) if pooled is None else _checked("pooled", pooled, heard).shape[1]
        )
        if pooled and _checked("pooled", pooled, heard).flatten(1).shape[1] != self.dim:
            raise ValueError(f"Wrapped: pooled={pooled!r} is a map, not one vector of each image; leave it out")

    def forward(self, x: Tensor) -> Features:
        paths = dict.fromkeys([*self.paths.values(), *([self.vector] if self.vector else [])])
        heard = _overheard(self.net, paths, self.normalise(x))
        stages = {name: cast(Tensor, heard[path].output) for name, path in self.paths.items()}
        last = next(reversed(stages.values()))
        pooled = cast(Tensor, heard[self.vector].output).flatten(1) if self.vector else last.mean((-2, -1))
        return Features(stages, pooled)


def _overheard(net: nn.Module, paths: Iterable[str], x: Tensor) -> dict[str, _Heard]:
    """Run `net` and return what came out of the modules at `paths`, in the order in which they finished."""
    heard: dict[str, _Heard] = {}
    hooks = []
    for path in paths:  # for this one call: hooks that stayed would be copied and pickled with the network

        def listen(_: nn.Module, __: object, output: object, path: str = path) -> None:
            heard.pop(path, None)  # run twice, the last run counts
            heard[path] = _Heard(output, _version(output))

        hooks.append(net.get_submodule(path).register_forward_hook(listen))
    try:
        net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return heard


def _version(x: object) -> int:
    """Say how often a tensor's memory was written to; inference mode does not count."""
    return x._version if isinstance(x, Tensor) and not x.is_inference() else 0


def _measure(net: nn.Module, paths: list[str], size: int) -> dict[str, _Heard]:
    """Let a copy of the network look at a black image of `size` pixels."""
    ghost = copy.deepcopy(net).eval()
    first = next(iter(ghost.parameters()), torch.zeros(()))
    with torch.inference_mode(False), torch.no_grad():
        return _overheard(ghost, paths, torch.zeros(2, 3, size, size, device=first.device, dtype=first.dtype))


def _found(heard: dict[str, _Heard], name: str) -> dict[str, str]:
    """Choose the last output at each resolution, which is the outermost module's; of one resolution, the children's."""
    maps = {path: cast(Tensor, said.output).shape[-1] for path, said in heard.items() if _is_map(path, said)}
    last: dict[int, str] = {}
    for path, side in maps.items():
        last[side] = path
    paths = [last[side] for side in sorted(last, reverse=True)]
    if len(paths) < LEAST:
        paths = [path for path in maps if "." not in path]
    if len(paths) < LEAST:
        raise ValueError(
            f"Wrapped: cannot find stages in {name}, whose modules return fewer than {LEAST} maps (N, D, h, w), as a "
            f"transformer's do; name some with stages={{...}}, or write a pretext.Backbone around it"
        )
    return {path.replace(".", "_"): path for path in paths[-MOST:]}


def _is_map(path: str, said: _Heard) -> bool:
    """Tell whether a module's output is a map of the square image, of the trunk, and stays as it is."""
    x = said.output
    if not isinstance(x, Tensor) or x.ndim != 4 or path.split(".")[0] in HEADS:
        return False
    return 1 < x.shape[-1] == x.shape[-2] and _version(x) == said.version


def _checked(name: str, path: str, heard: dict[str, _Heard]) -> Tensor:
    """Return what the module at `path` said, if it can be a stage, or the pooled vector."""
    if path not in heard:
        raise ValueError(f"Wrapped: {name} is {path!r}, which the network does not run; name a module that it calls")
    output, version = heard[path]
    wanted = (2, 4) if name == "pooled" else (4,)
    if not isinstance(output, Tensor) or output.ndim not in wanted:
        got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"Wrapped: {name} is {path!r}, whose output is {got}, not (N, D, h, w); name another module")
    if _version(output) != version:
        raise ValueError(
            f"Wrapped: {name} is {path!r}, whose output a later module overwrites in place; name that one (a ReLU, say)"
        )
    return output
