"""The plain backbone as a file that needs nothing of this package."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from pretext import __version__
from pretext.backbones.image import RGB, Normalise, TorchVision
from pretext.types import Backbone


def export(backbone: Backbone, out: Path, to: Literal["torchvision", "safetensors"]) -> str:
    """Write the backbone's tensors to `out`, at once or not at all, and return what a user must know to load them.

    "torchvision": a plain state dict under torchvision's names, without the classifier's; for `TorchVision` only.
    "safetensors": the same, or any other backbone's own names, with metadata (strings; lists as JSON): `name`, `mean`,
    `std`, `pretext` (our version), for `TorchVision` also `stem`, `stem_stride`, `width` and `options` (torchvision's).

    Raises:
        ValueError: torchvision has no such network (of this width), or `to` is neither of the two.
        OSError: `out` cannot be written.

    """
    if to not in ("torchvision", "safetensors"):
        raise ValueError(f"export: writes 'torchvision' or 'safetensors', got {to!r}")
    if to == "torchvision" and not isinstance(backbone, TorchVision):
        raise ValueError(
            f"export: torchvision has no network like {type(backbone).__name__}, only a TorchVision backbone "
            f"can be exported to it; use safetensors"
        )
    if to == "torchvision" and isinstance(backbone, TorchVision) and backbone.width != 1:
        raise ValueError(
            f"export: torchvision builds {backbone.name} in full width only, not with width={backbone.width}; "
            f"use safetensors"
        )
    weights = backbone.weights() if isinstance(backbone, TorchVision) else backbone.state_dict()
    for name, tensor in weights.items():  # no device, no view and no channels-last reaches the file
        weights[name] = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    if to == "torchvision":
        _write(out, lambda path: torch.save(weights, path))
    else:
        _write(out, lambda path: save_file(weights, path, metadata=_metadata(backbone)))
    return f"{out}: {len(weights)} tensors of {_title(backbone)}.\n" + _loading(backbone, out, to) + _input(backbone)


def _write(out: Path, save: Callable[[Path], Any]) -> None:
    """Save beside `out` and then rename, so that nobody ever sees half a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        save(half)
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def _constants(backbone: Backbone) -> tuple[RGB, RGB] | None:
    """Return the mean and standard deviation that the backbone normalises with, if it is one for images."""
    normalise = getattr(backbone, "normalise", None)
    return normalise.constants if isinstance(normalise, Normalise) else None


def _metadata(backbone: Backbone) -> dict[str, str]:
    """Describe the backbone in strings, all that safetensors takes."""
    metadata = {"name": _title(backbone), "pretext": __version__}
    if isinstance(backbone, TorchVision):
        metadata |= {"stem": backbone.stem, "stem_stride": str(backbone.stem_stride)}
        metadata |= {"width": str(backbone.width), "options": json.dumps(backbone.options)}
    if constants := _constants(backbone):
        metadata |= {"mean": json.dumps(constants[0]), "std": json.dumps(constants[1])}
    return metadata


def _title(backbone: Backbone) -> str:
    """Name the network: torchvision's name, or else the class."""
    return backbone.name if isinstance(backbone, TorchVision) else type(backbone).__name__


def _loading(backbone: Backbone, out: Path, to: str) -> str:
    """Write the Python that loads the file."""
    load = "torch.load({!r}, weights_only=True)" if to == "torchvision" else "safetensors.torch.load_file({!r})"
    lines = [f"weights = {load.format(str(out))}"]
    title, modules = "To load it", ["torch" if to == "torchvision" else "safetensors.torch"]
    if isinstance(backbone, TorchVision) and backbone.width != 1:
        title += " into the same backbone, which torchvision cannot build"
        how = f"{backbone.name!r}, stem={backbone.stem!r}, stem_stride={backbone.stem_stride}, width={backbone.width}"
        mean, std = backbone.normalise.constants
        lines += [f"backbone = pretext.TorchVision({how}, mean={tuple(mean)}, std={tuple(std)})"]
        lines += ["backbone.net.load_state_dict(weights)"]
        modules.insert(0, "pretext")
    elif isinstance(backbone, TorchVision):
        title += " into torchvision's model, whose classifier alone stays untrained"
        modules = sorted({"torch", "torchvision", *modules})
        options = ", ".join(f"{name}={value!r}" for name, value in backbone.options.items())
        if to == "safetensors" and backbone.version != 1:  # a torch file says so itself
            lines += [
                "weights = collections.OrderedDict(weights)",
                f"weights._metadata = {{'': {{'version': {backbone.version}}}}}  # of torchvision's layout",
            ]
            modules.insert(0, "collections")
        lines += [f"model = torchvision.models.{backbone.name}({options})", *backbone.adaptation]
        lines += ["model.load_state_dict(weights, strict=False)"]
    code = "".join(f"    {line}\n" for line in [f"import {', '.join(modules)}", *lines])
    return f"{title}:\n\n{code}\n"


def _input(backbone: Backbone) -> str:
    """Say what input the plain network needs, which no longer normalises."""
    constants = _constants(backbone)
    if constants is None:
        return ""
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in constants)
    return f"The network itself reads (x - mean) / std of RGB in [0, 1], with mean ({mean}) and std ({std})."
