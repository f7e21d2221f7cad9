"""Networks that were not trained here, by a short name: what the command line evaluates beside our runs."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from torch import nn

from pretext.backbones.image import SIZED, TorchVision
from pretext.backbones.pretrained.match import load_weights
from pretext.backbones.timm import Timm, one_size
from pretext.backbones.video import MODELS, TorchVideo
from pretext.backbones.wrapped import Wrapped
from pretext.core.types import Backbone

Builder = Callable[[str | None], Backbone]
"""Builds a network from a file of weights, or at random initialisation."""
FORMS = "torchvision:NAME, timm:NAME or package.Class, and options after commas: torchvision:resnet18,stem=small"


class Pretrained(NamedTuple):
    """How to build one network, as often as one likes."""

    name: str
    """For tables, such as "torchvision:resnet18"."""
    fresh: Callable[[], Backbone]
    """Build it without the file of weights: at random initialisation, which torch's seed decides."""
    trained: Callable[[], Backbone] | None
    """Build it with the weights; none: no file was given."""


def pretrained(spec: str, weights: str | None = None, image_size: int | None = None) -> Pretrained:
    """Name any network, and the file of its weights.

    "torchvision:NAME" is a `TorchVision`, or a `TorchVideo` if it reads clips; "timm:NAME" is a `Timm`; "package.Class"
    is a `Backbone` of anybody's, or any other module that reads normalised images, which is put into `Wrapped`.
    Arguments of the class may follow: "torchvision:resnet18,stem=small". Nothing is built before it is called for.

    Args:
        spec: the network.
        weights: file (see `load_weights`).
        image_size: side of the images that it will be shown, for networks that are built for one size.

    Raises:
        ValueError: a spec of no known form, or no such class.

    """
    name, *rest = (part.strip() for part in spec.split(","))
    options = dict(_option(part, spec) for part in rest)
    kind, colon, model = name.partition(":")
    build: Builder
    if colon and kind in ("torchvision", "timm"):
        build = _of_library(kind, model, options, image_size)
    elif colon or "." not in name:
        close = get_close_matches(kind, ("torchvision", "timm"), n=1)
        hint = f"did you mean {close[0]}:{model or 'NAME'}? " if close else ""
        raise ValueError(f"pretrained: {spec!r} names no network; {hint}the forms are {FORMS}")
    else:
        build = _of_class(_imported(name), name, options, image_size)
    return Pretrained(spec, lambda: build(None), None if weights is None else lambda: build(weights))


def _option(part: str, spec: str) -> tuple[str, Any]:
    """Read `name=value`; a value that is no Python literal is a string."""
    name, equals, text = part.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"pretrained: cannot read {part!r} in {spec!r}; the forms are {FORMS}")
    try:
        return name, ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return name, text


def _of_library(kind: str, model: str, options: dict[str, Any], size: int | None) -> Builder:
    """Build a network of torchvision or timm."""

    def build(weights: str | None) -> Backbone:
        if kind == "timm":
            return Timm(model, weights, **({"image_size": size} if size and one_size(model) else {}) | options)
        if model not in MODELS:
            sized = {"image_size": size} if size and model.startswith(tuple(SIZED)) else {}
            return TorchVision(model, weights=weights, **sized | options)
        video = TorchVideo(model, **options)
        if weights is not None:
            load_weights(video.net, weights)
        return video

    return build


def _of_class(make: Callable[..., object], name: str, options: dict[str, Any], size: int | None) -> Builder:
    """Build what `make` makes; a class with an argument `weights` reads the file itself."""

    def build(weights: str | None) -> Backbone:
        ours = isinstance(make, type) and issubclass(make, Backbone)  # else `weights` may mean something else
        reads = ours and "weights" in inspect.signature(make).parameters
        made = make(**options, **({"weights": weights} if reads and weights is not None else {}))
        if not isinstance(made, nn.Module):
            raise ValueError(
                f"pretrained: {name} makes a {type(made).__name__}, not a torch.nn.Module; name one that does"
            )
        if weights is not None and not reads:
            load_weights(made, weights)
        if isinstance(made, Backbone):
            return made
        return Wrapped(made) if size is None else Wrapped(made, image_size=size)

    return build


def _imported(name: str) -> Callable[..., object]:
    """Import a class or function by its dotted path."""
    home, _, last = name.rpartition(".")
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        raise ValueError(f"pretrained: cannot import {home!r} for {name} ({error}); the forms are {FORMS}") from error
    maker = getattr(module, last, None)
    if not callable(maker):
        close = get_close_matches(last, dir(module), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"the forms are {FORMS}"
        raise ValueError(f"pretrained: {home} has no class {last!r}; {hint}")
    return maker  # type: ignore[no-any-return]  # whatever it makes is checked then
