"""Two encoders of open_clip, from a file: pictures and texts (https://github.com/mlfoundations/open_clip)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pretext.backbones.pretrained.read import read_tensors
from pretext.backbones.two_encoders import TwoEncoders
from pretext.core.errors import require
from pretext.core.types import Backbone, Features
from pretext.ops.words import as_texts

AXES = {"rgb": "hw", "text": "l"}
WRAPPED = "module."  # before the names of weights that several devices trained


class OpenClip(Backbone):
    """A model of open_clip by name, at random initialisation or from a file; nothing is downloaded.

    It reads {"rgb": pictures (N, 3, H, W) in [0, 1], "text": texts (N, 1, L)}, or one of them, and gives each one's
    embedding as `pooled`. Pictures of another side than the model's are resized, bicubic and antialiased. Texts are
    split into tokens by open_clip's own tokenizer, which for most models comes with the package.

    Args:
        name: as in `open_clip.list_models()`, such as "ViT-B-32", or a JSON file of a model's config.
        weights: file of that model's weights.

    Raises:
        ImportError: open_clip is not installed.
        ValueError: an unknown name, or a file of another model.
        OSError: there is no such file.

    """

    axes = ""
    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "ViT-B-32", weights: str | None = None) -> None:
        super().__init__()
        library = _library()
        if name.endswith(".json"):
            require(Path(name).is_file(), self, f"there is no file {name}", "give the config of a model")
            library.add_model_config(Path(name))
            name = Path(name).stem
        known = library.list_models()
        require(name in known, self, f"open_clip has no model {name!r}", "see open_clip.list_models()")
        with _unwarned():
            self.net = library.create_model(name, pretrained=None)
        self.tokenizer = library.get_tokenizer(name)
        if weights is not None:
            _fill(self.net, weights, name)
        side = self.net.visual.image_size
        self.side = int(side[0] if isinstance(side, tuple) else side)
        for what in ("mean", "std"):
            numbers = torch.tensor(getattr(self.net.visual, f"image_{what}")).view(3, 1, 1)
            self.register_buffer(what, numbers, persistent=False)
        self.dim, self.stages = int(library.get_model_config(name)["embed_dim"]), {}

    def forward(self, x: dict[str, Tensor]) -> dict[str, Features]:
        """Embed pictures and texts, {name: `Features` without stages}."""
        return {
            name: Features({}, self._pictures(part) if name == "rgb" else self._texts(part)) for name, part in x.items()
        }

    def encoders(self) -> TwoEncoders:
        """Return it as retrieval looks at it."""
        return TwoEncoders(self, {name: nn.Identity() for name in AXES}, self.dim, AXES)

    def _pictures(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.side, self.side):
            x = interpolate(x, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        seen: Tensor = self.net.encode_image((x - self.mean) / self.std)
        return seen

    def _texts(self, x: Tensor) -> Tensor:
        read: Tensor = self.net.encode_text(self.tokenizer(as_texts(x)).to(x.device))
        return read


def _library() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            "OpenClip: needs the package open_clip_torch; pip install 'pretext-tasks[open_clip]', or the package itself"
        ) from error
    return open_clip


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep from the user that open_clip has loaded no weights: a file is read afterwards, where one is given."""

    def other(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)


def _fill(net: nn.Module, weights: str, name: str) -> None:
    """Fill a network from a file, which must have all its tensors and no other."""
    read = read_tensors(Path(weights)).tensors
    found = {key.removeprefix("state_dict.").removeprefix(WRAPPED): tensor for key, tensor in read.items()}
    try:
        net.load_state_dict(found)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"OpenClip: {weights} is no file of {name} ({why}); name the model that it is of") from error
