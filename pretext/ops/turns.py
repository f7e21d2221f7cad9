"""Quarter turns of images and clips, and of flow, whose arrows turn with the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.ops.geometric import quarter_turn
from pretext.ops.temporal import FLOW_CHANNELS, opposite

TURNS = 4  # quarter turns need no interpolation, which would leave traces to read instead of the content


def turn(x: Tensor, k: int, flow: bool = False) -> Tensor:
    """Turn (..., H, W) by `k` quarter turns counter-clockwise; of flow (..., 2, T, H, W) the arrows as well."""
    pixels = quarter_turn(x, k)
    return _arrows(pixels).roll(-k, -4)[..., :FLOW_CHANNELS, :, :, :] if flow else pixels


def turn_each(x: Tensor, turns: Tensor, flow: bool = False) -> Tensor:
    """Turn every image (N, C, S, S), or clip, by its own number of quarter turns (N,), in one gather of pixels."""
    side = x.shape[-1]
    upright = torch.arange(side * side, device=x.device).view(side, side)
    sources = torch.stack([quarter_turn(upright, k).flatten() for k in range(TURNS)])  # where each pixel comes from
    pixels = x.flatten(-2)
    chosen = sources[turns].view(len(x), *(1 for _ in x.shape[1:-2]), side * side)
    turned = pixels.gather(-1, chosen.expand_as(pixels)).view(x.shape)
    if not flow:
        return turned
    components = (turns[:, None] + torch.arange(FLOW_CHANNELS, device=x.device)) % TURNS
    return _arrows(turned).gather(1, components.view(len(x), -1, 1, 1, 1).expand_as(turned))


def _arrows(flow: Tensor) -> Tensor:
    """List how far (..., 2, T, H, W) moves right, down, left and up: turned, it is the same list from the next on."""
    return torch.cat((flow, opposite(flow)), -4)
