"""The plain backbone as a file that needs nothing of this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from pretext import __version__
from pretext.backbones import Cells, Frames, MultiModal, R2Plus1D, ResNet, Sound, TorchVideo, TorchVision
from pretext.backbones.audio import RANGE
from pretext.backbones.clips import Constants, NormaliseClips
from pretext.backbones.image import Normalise
from pretext.core.files import whole
from pretext.core.types import Backbone
from pretext.ops.mel import FLOOR

OPTIONS = {  # by class, what besides the normalisation builds it again; `options` are what torchvision builds it with
    TorchVision: ("stem", "stem_stride", "width", "options"),
    TorchVideo: ("channels",),
    R2Plus1D: ("layers", "bottleneck", "width", "stem", "channels"),
    ResNet: ("blocks", "width", "kernels"),
    Cells: ("genotype", "width", "cells", "stem", "reductions", "tap_reductions"),
}


def export(
    backbone: Backbone, out: Path, to: Literal["torchvision", "safetensors"], modality: str | None = None
) -> str:
    """Write the backbone's tensors to `out`, at once or not at all, and return what a user must know to load them.

    "torchvision": a plain state dict under torchvision's names, without the classifier's; for `TorchVision` and
    `TorchVideo` only. "safetensors": the same, or any other backbone's own names, with metadata (strings; lists and
    numbers as JSON): `name`, `mean`, `std`, `pretext` (our version) and what else builds the network again (`OPTIONS`).

    Of a `MultiModal`, the network for `modality` alone is written; of `Frames` and `Sound`, the network for images
    inside, which has all the weights, and what they do around it is told (for sound, also in the metadata).

    Raises:
        ValueError: torchvision has no such network (of this width), `to` is neither of the two, or `modality` is
            missing, unknown, or given for a backbone of one modality.
        OSError: `out` cannot be written.

    """
    if to not in ("torchvision", "safetensors"):
        raise ValueError(f"export: writes 'torchvision' or 'safetensors', got {to!r}")
    reader = _one(backbone, modality)
    backbone = _inside(reader)
    if to == "torchvision" and not isinstance(backbone, TorchVision | TorchVideo):
        raise ValueError(
            f"export: torchvision has no network like {type(backbone).__name__}, only a TorchVision or TorchVideo "
            f"backbone can be exported to it; use safetensors"
        )
    if to == "torchvision" and isinstance(backbone, TorchVision) and backbone.width != 1:
        raise ValueError(
            f"export: torchvision builds {backbone.name} in full width only, not with width={backbone.width}; "
            f"use safetensors"
        )
    weights = backbone.weights() if isinstance(backbone, TorchVision | TorchVideo) else backbone.state_dict()
    for name, tensor in weights.items():  # no device, no view and no channels-last reaches the file
        weights[name] = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    if to == "torchvision":
        with whole(out) as draft:
            torch.save(weights, draft)
    else:
        with whole(out) as draft:
            save_file(weights, draft, metadata=_metadata(reader))
    told = _loading(backbone, out, to) + _input(backbone) + _around(reader)
    return f"{out}: {len(weights)} tensors of {_title(backbone)}.\n{told}"


def _one(backbone: Backbone, modality: str | None) -> Backbone:
    """Choose the network of one modality."""
    if not isinstance(backbone, MultiModal):
        if modality is not None:
            raise ValueError(
                f"export: {type(backbone).__name__} is one network, which has no modality {modality!r}; leave it out"
            )
        return backbone
    if modality not in backbone.dims:
        what = "needs one of its modalities" if modality is None else f"has no modality {modality!r}"
        raise ValueError(f"export: MultiModal {what}; choose one of {', '.join(backbone.dims)}")
    chosen = backbone.backbones[modality]
    assert isinstance(chosen, Backbone)
    return chosen


def _inside(reader: Backbone) -> Backbone:
    """Find the network that has the weights."""
    if isinstance(reader, Sound):
        return reader.net
    return reader.backbone if isinstance(reader, Frames) else reader


def _constants(backbone: Backbone) -> tuple[Constants, Constants] | None:
    """Return the mean and standard deviation that the backbone normalises with, if it does."""
    normalise = getattr(backbone, "normalise", None)
    return normalise.constants if isinstance(normalise, Normalise | NormaliseClips) else None


def _metadata(reader: Backbone) -> dict[str, str]:
    """Describe the backbone in strings, all that safetensors takes."""
    backbone = _inside(reader)
    metadata = {"name": _title(backbone), "pretext": __version__}
    for option in OPTIONS.get(type(backbone), ()):
        value = getattr(backbone, option)
        metadata[option] = value if isinstance(value, str) else json.dumps(value)
    if constants := _constants(backbone):
        metadata |= {"mean": json.dumps(constants[0]), "std": json.dumps(constants[1])}
    if isinstance(reader, Sound):
        metadata["sound"] = json.dumps({"rate": reader.mel.rate, **_spectrogram(reader)})
    return metadata


def _title(backbone: Backbone) -> str:
    """Name the network: torchvision's name, or else the class."""
    return backbone.name if isinstance(backbone, TorchVision | TorchVideo) else type(backbone).__name__


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
    elif isinstance(backbone, R2Plus1D | ResNet | Cells):
        title += " into the same backbone"
        options = ", ".join(f"{name}={getattr(backbone, name)!r}" for name in OPTIONS[type(backbone)])
        options += ", mean={}, std={}".format(*backbone.normalise.constants)
        lines += [f"backbone = pretext.{type(backbone).__name__}({options})"]
        lines += ["backbone.load_state_dict(weights)"]
        modules.insert(0, "pretext")
    elif isinstance(backbone, TorchVideo):
        title += " into torchvision's model, whose classifier alone stays untrained"
        modules = sorted({"torch", "torchvision", *modules})
        lines += [f"model = torchvision.models.video.{backbone.name}()", *backbone.adaptation]
        lines += ["model.load_state_dict(weights, strict=False)"]
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
    if constants is None or isinstance(backbone, R2Plus1D | ResNet | Cells):  # loaded whole, normalisation and all
        return ""
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in constants)
    what = {1: "grey", 2: "flow (128/255 where nothing moves)", 3: "RGB"}.get(len(constants[0]), "clips")
    return f"The network itself reads (x - mean) / std of {what} in [0, 1], with mean ({mean}) and std ({std})."


def _around(reader: Backbone) -> str:
    """Say what was done around the network for images."""
    if isinstance(reader, Frames):
        return "\nIt saw clips frame by frame; a clip's features are the mean over its frames."
    if not isinstance(reader, Sound):
        return ""
    mel = reader.mel
    options = ", ".join(f"{name}={value}" for name, value in _spectrogram(reader).items())
    full = (mel.window / 4) ** 2  # power of a full-scale sine under Hann's window
    return f"""
It saw waveforms (N, 1, L) in [-1, 1] at {mel.rate} Hz as pictures x:

    import torch, torchaudio
    mel = torchaudio.transforms.MelSpectrogram({mel.rate}, {options}, center=False)
    def picture(wave):
        return (torch.log10(mel(wave) / {full} + {FLOOR}) * 10 / {RANGE} + 1).expand(-1, 3, -1, -1)
"""


def _spectrogram(sound: Sound) -> dict[str, float]:
    """Describe the spectrogram in torchaudio's words."""
    mel = sound.mel
    lengths = {"n_fft": mel.window, "hop_length": mel.hop, "n_mels": mel.bands}
    return {**lengths, "f_min": mel.low, "f_max": mel.rate / 2}
