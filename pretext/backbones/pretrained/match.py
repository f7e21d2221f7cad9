"""Weights that others trained: find the network in their file, whatever it was wrapped in, and load it or refuse."""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pretext.backbones.pretrained.read import Tensors, read_tensors

# Paths of what models call their classifier: it may be missing, of other classes, or left over.
HEADS = ("fc", "classifier", "head", "heads", "head_dist", "last_linear", "AuxLogits", "aux1", "aux2")
# Where several networks in a file fit equally well, the first named here is taken; any other comes after. A checkpoint
# of ours has the backbone first; DINO, moving averages and MoCo are evaluated with these by their own code.
AVERAGES = ("teacher.", "ema.", "state_dict_ema.", "model_ema.")
PREFIXES = ("state_dict.backbone.net.", *AVERAGES, "encoder_q.", "base_encoder.", "online_encoder.")
# Buffers that are computed from sizes, or only counted: old files hold them where the models no longer do.
DERIVED = ("attn_mask", "relative_position_index", "relative_coords_table", "num_batches_tracked")
FEW = 0.1  # of a model's names: a file with fewer is of another kind
SHOWN = 5  # names in a message
HINT = "build the network that the file is of, with the same options (stem, width, image_size)"

Shapes = Mapping[str, torch.Size]


class Loaded(NamedTuple):
    """What became of a file's tensors."""

    matched: tuple[str, ...]
    """Names in the model that were filled."""
    missing: tuple[str, ...]
    """Names in the model that were not: the classifier's, and counters of batches."""
    unexpected: tuple[str, ...]
    """Names in the file, without `stripped`, that were not used: a classifier, a projection head."""
    stripped: str
    """What was taken off the file's names, such as "teacher.backbone."."""
    others: tuple[str, ...]
    """Further places in the file that would have fitted as well, such as "student.backbone."."""


class _Place(NamedTuple):
    """Where in a file a network is said to be, and the names of its parts if the file numbers them."""

    prefix: str
    numbered: tuple[str, ...] = ()

    def name(self, key: str) -> str:
        """Say what a tensor of the file would be called in the model."""
        key = key[len(self.prefix) :]
        step, _, rest = key.partition(".")
        known = step.isdecimal() and int(step) < len(self.numbered)
        return f"{self.numbered[int(step)]}.{rest}" if known else key


def load_weights(
    model: nn.Module,
    file: str | Path,
    head: Sequence[str] = HEADS,
    prefixes: Sequence[str] = PREFIXES,
    told: Mapping[str, Any] | None = None,
) -> Loaded:
    """Fill `model` from a .safetensors file, or any other that `torch.save` wrote (.pth, .pt, .ckpt), or refuse.

    The file may hold a state dict in any wrapping (dicts in dicts, "module.", "backbone."): the place where most names
    and shapes match is taken. A `Sequential` of the model's children, which numbers them, is understood too. Every
    parameter and statistic but the classifier's must be there, of the same shape and finite, and the file may hold no
    further layer of a part of the trunk. Code in a file is never run. On an error the model is unchanged.

    Args:
        model: is changed in place.
        file: path.
        head: paths of the model's classifier.
        prefixes: which of several networks that fit equally well to take, first to last; ("student.",) for DINO's.
        told: what a file by `pretext export --to safetensors` must say of itself, also where all shapes would fit.

    Raises:
        ValueError: the file is no such file, needs code to be read, or holds no such network.
        OSError: there is no such file.

    """
    read = read_tensors(Path(file))
    if "pretext" in read.metadata:
        _agree(file, read.metadata, told or {})
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    trunk = {key: shape for key, shape in shapes.items() if not _under(key, head)}
    place, others = _choose(model, file, read.tensors, trunk, prefixes)
    renamed = {place.name(key): tensor for key, tensor in read.tensors.items() if key.startswith(place.prefix)}
    weights = OrderedDict((k, t) for k, t in renamed.items() if not _under(k, head) or shapes.get(k) == t.shape)
    weights._metadata = _layouts(model, read, place)  # type: ignore[attr-defined]  # where torch keeps them
    where = f" (under {place.prefix!r})" if place.prefix else ""
    about = f"load_weights: {file}{where} does not fit {type(model).__name__}"
    missing, unexpected = _try(model, about, weights, shapes, head)
    model.load_state_dict(weights, strict=False)
    matched = tuple(key for key in shapes if key not in missing)
    left = tuple(key for key in renamed if key not in weights or key in unexpected)
    return Loaded(matched, missing, left, place.prefix, others)


def _agree(file: str | Path, metadata: Mapping[str, str], told: Mapping[str, Any]) -> None:
    """Refuse a file that says that it is of another network."""
    for key, value in told.items():
        if key in metadata:
            theirs = metadata[key] if isinstance(value, str) else json.loads(metadata[key])
            mine = json.loads(json.dumps(value))  # tuples are lists there
            if theirs != mine:
                raise ValueError(
                    f"load_weights: {file} was exported with {key}={theirs}, but the backbone has {key}={mine}; build "
                    f"it with {', '.join(f'{k}={metadata[k]}' for k in told if k in metadata)}"
                )


def _choose(
    model: nn.Module, file: str | Path, tensors: Mapping[str, Tensor], shapes: Shapes, prefixes: Sequence[str]
) -> tuple[_Place, tuple[str, ...]]:
    """Find the place in the file where most of the trunk is, whose shapes are given, and others that are as good."""
    scores: dict[_Place, list[int]] = {}  # of each place: how many names with their shapes match, how many names
    for numbered in dict.fromkeys(((), tuple(name for name, _ in model.named_children()))):
        for key, tensor in tensors.items():
            for start in [0, *(dot.end() for dot in re.finditer(r"\.", key))]:
                place = _Place(key[:start], numbered)
                same = shapes.get(name := place.name(key)) == tensor.shape
                if same or (name in shapes and not numbered):  # numbers alone mean little
                    score = scores.setdefault(place, [0, 0])
                    score[0] += same
                    score[1] += 1
    best = max(scores.values(), default=[0, 0])
    if best[1] < FEW * len(shapes):
        raise ValueError(
            f"load_weights: only {best[1]} of {len(shapes)} tensors of {type(model).__name__} are named so in {file}: "
            f"it has {_some(tensors)}, the model {_some(shapes)}; choose the architecture that the file is of, or "
            f"rename its tensors"
        )
    fits = [place for place, score in scores.items() if score == best]
    rank = {f: next((i for i, p in enumerate(prefixes) if f".{p}" in f".{f.prefix}"), len(prefixes)) for f in fits}
    first, *others = sorted(fits, key=lambda fit: (rank[fit], bool(fit.numbered), len(fit.prefix)))
    return first, tuple(dict.fromkeys(other.prefix for other in others if other.prefix != first.prefix))


def _layouts(model: nn.Module, read: Tensors, place: _Place) -> dict[str, Any]:
    """Find the versions of the modules' layouts, by which modules of torch and torchvision translate old ones."""
    inside = {f"{path}.": value for path, value in read.versions.items() if f"{path}.".startswith(place.prefix)}
    layouts = {place.name(path)[:-1]: value for path, value in inside.items()}
    if "version" not in layouts.get("", {}):
        layouts[""] = {"version": model._version}  # MNASNet refuses to load without; today's, then
    return layouts


def _try(
    model: nn.Module, about: str, weights: OrderedDict[str, Tensor], shapes: Shapes, head: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Load into a copy without memory, refuse what does not fit, and return what is missing and what is left over."""
    if wrong := [k for k, t in weights.items() if k in shapes and shapes[k] != t.shape]:
        sizes = [f"{k} is {tuple(weights[k].shape)}, not {tuple(shapes[k])}" for k in wrong[:SHOWN]]
        raise ValueError(f"{about}: {len(wrong)} of {len(shapes)} shapes differ: {'; '.join(sizes)}; {HINT}")
    ghost = copy.deepcopy(model).to("meta")
    try:
        missing, unexpected = ghost.load_state_dict(weights, strict=False, assign=True)
    except (RuntimeError, ValueError) as error:  # shapes that only a module's own translation of old files shows
        raise ValueError(f"{about}: {error}; {HINT}") from error
    if lacking := [k for k in missing if not _under(k, head) and not k.endswith("num_batches_tracked")]:
        raise ValueError(f"{about}: it lacks {len(lacking)} of {len(shapes)} tensors: {_some(lacking)}; {HINT}")
    trunk = {key.partition(".")[0] for key in shapes if not _under(key, head)}
    strange = [k for k in unexpected if k.partition(".")[0] in trunk and k.rpartition(".")[2] not in DERIVED]
    if strange := [k for k in strange if not _under(k, head)]:
        raise ValueError(f"{about}: it has {len(strange)} tensors that the model lacks: {_some(strange)}; {HINT}")
    if broken := [k for k, t in weights.items() if k in shapes and t.is_floating_point() and not t.isfinite().all()]:
        raise ValueError(f"{about}: it has values that are no numbers in {_some(broken)}; take an earlier checkpoint")
    return tuple(missing), tuple(unexpected)


def _under(key: str, paths: Iterable[str]) -> bool:
    """Tell whether a name lies in one of some modules."""
    return any(f"{key}.".startswith(f"{path}.") for path in paths)


def _some(names: Iterable[str]) -> str:
    """List the first few names."""
    names = list(names)
    return (", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")) or "no tensors"
