"""The tensors of a file of weights, however deep they lie in it, read without ever running code from it."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")  # torchvision's own files have norm.1 for norm1


class Tensors(NamedTuple):
    """All that is read of a file."""

    tensors: dict[str, Tensor]
    """By dotted name: {"teacher": {"fc.bias": ...}} is "teacher.fc.bias"."""
    versions: dict[str, Any]
    """What torch notes beside a state dict, the version of each module's layout, by the dotted path of the module."""
    metadata: dict[str, str]
    """Of a safetensors file."""


def read_tensors(file: Path) -> Tensors:
    """Read all tensors of a .safetensors file, or of any other that `torch.save` wrote, on the CPU.

    Raises:
        ValueError: the file is broken, is no such file, or needs code to be read.
        OSError: there is no such file.

    """
    if not file.is_file():
        raise FileNotFoundError(f"load_weights: there is no file {file}")
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                return Tensors({k: opened.get_tensor(k) for k in opened.keys()}, {}, opened.metadata() or {})  # noqa: SIM118  # no dict
        # DINO, MAE and others keep their command line beside the weights; a Namespace is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle that is no file of torch's: the error tells it
            content = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a broken file can fail in any way
        raise ValueError(_why(file, error)) from error
    return Tensors(dict(_flat(content)), dict(_versions(content)), {})


def _why(file: Path, error: Exception) -> str:
    """Say why a file cannot be read, and what to do."""
    text = str(error)
    needs = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and needs:
        return (
            f"load_weights: {file} is more than tensors and plain data: it holds {needs[1].rstrip('.')}, and code from "
            f"a file is never run here; if you trust it, load it with the project that wrote it and save "
            f"model.state_dict() alone"
        )
    what = f"{type(error).__name__}: {text}".splitlines()[0]  # the text may be as little as a number
    if isinstance(error, pickle.UnpicklingError):  # torch's own first lines advise to run the code
        what = text.rpartition("WeightsUnpickler error:")[2].strip().splitlines()[0]
    return (
        f"load_weights: {file} cannot be read ({what}): it is broken, cut short, or no file of weights; it must be a "
        f".safetensors file, or one that torch.save wrote"
    )


def _flat(node: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walk through dicts in dicts to their tensors."""
    if isinstance(node, Tensor):
        yield DENSENET.sub(r"\1\2.", path), node.detach()
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))


def _versions(node: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk through dicts in dicts to the versions beside state dicts."""
    if isinstance(node, Mapping):
        for key, value in getattr(node, "_metadata", {}).items():
            yield ".".join(step for step in (path, key) if step), value
        for key, value in node.items():
            yield from _versions(value, f"{path}.{key}" if path else str(key))
