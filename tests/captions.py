"""Pictures of one colour with a text that names it, and tiny networks for both."""

import torch
from nets import TinyNet

from pretext.backbones.multimodal import MultiModal
from pretext.backbones.text import Text
from pretext.core.rng import rng
from pretext.ops.words import as_bytes

SHADES = {"black": 0.0, "dim": 0.5, "bright": 1.0}


def captioned(n, key=0, side=12):
    """Grainy colours, 27 in all, and texts such as "black red, dim green, bright blue"."""
    generator = rng("cpu", "captioned", key)
    shades = torch.randint(3, (n, 3), generator=generator)
    names = list(SHADES)
    parts = [zip(row, ("red", "green", "blue"), strict=True) for row in shades.tolist()]
    texts = [", ".join(f"{names[shade]} {channel}" for shade, channel in row) for row in parts]
    colour = torch.tensor(list(SHADES.values()))[shades].view(n, 3, 1, 1)
    grain = torch.rand(n, 3, side, side, generator=generator)
    return {"rgb": 0.8 * colour + 0.2 * grain, "text": as_bytes(texts, 48).float() / 255}


def picture_and_text():
    """Return two small networks."""
    return MultiModal({"rgb": TinyNet(norm=False), "text": Text(width=16, depth=1, heads=2, words=8, rows=256)})
