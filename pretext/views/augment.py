"""Augmentation of whole batches on the device: every sample with its own draw, no per-sample Python.

The loader delivers square uint8 canvases a little larger than the crop; this module crops, flips and jitters them. The
order is fixed: crop (or resized crop), flip, brightness, contrast, saturation, hue, loss of colour. One draw goes for
all frames of a clip and for all modalities of an item: what moves through a clip is the content alone.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.core.built import Built
from pretext.core.types import Tree
from pretext.ops.geometric import uniform_to_int
from pretext.ops.temporal import FLOW_CHANNELS, STILL, opposite
from pretext.views.colour import ColourJitter
from pretext.views.crop import Border, boxes, check_box, resized_crop, window

LOUDEST = 2**15  # of a sound in 16 bits


class Augment(Built, nn.Module):
    """Crop, flip and colour jitter for batches of square images or clips, with per-sample draws.

    With `scale=(1, 1)` the crop is a window of `crop` x `crop` pixels at native resolution, anywhere in the canvas,
    which a border makes `pad` pixels wider on each side: one gather on the uint8 data, no resampling. With any other
    `scale` the window is a box whose share of the canvas's area is uniform in `scale` and whose logarithm of width by
    height is uniform in that of `aspect`, resized to `crop` by the triangle filter of PIL and torchvision (bilinear,
    antialiased). Where a box of that area would leave the canvas, `aspect` is narrowed to what fits, so that the area
    is always the one drawn (torchvision draws both again instead, which makes large boxes rarer).

    Colour factors mean what `torchvision.transforms.v2.functional` means by them. They are uniform in
    [max(0, 1 - b), 1 + b] for brightness, contrast and saturation, in [-hue, hue] for hue (in turns of the wheel).

    Of several modalities, all that has pixels is cropped and flipped alike, and RGB alone changes its colours. Flow
    (two channels) keeps its meaning: a flip turns motion to the right into motion to the left, a resized crop stretches
    motion as it does the picture. Sound is passed on.

    Args:
        crop: side of the result in pixels; None keeps the canvas's side.
        pad: pixels that the border adds on each side, for native crops only. Not for tasks that hide or move parts of
            an image: a mirrored border shows them twice.
        scale: smallest and largest share of the canvas's area, each in (0, 1].
        flip: mirror left-right with probability 1/2.
        brightness: half-width of the factor's range; 0 switches it off (so do the next three).
        contrast: as `brightness`.
        saturation: as `brightness`.
        hue: at most 0.5, half a turn.
        aspect: smallest and largest ratio of the box's width to its height, positive, for resized crops only.
        grey: probability that an image loses its colour (and keeps its luma).
        jitter: probability that brightness, contrast, saturation and hue are touched at all.
        border: what `pad` adds: "reflect" mirrors the picture, "zero" is black, as in torchvision's
            `RandomCrop(32, padding=4)`.

    Raises:
        ValueError: an argument is out of its range.

    """

    def __init__(
        self,
        crop: int | None = None,
        pad: int = 0,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: bool = True,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        aspect: tuple[float, float] = (1.0, 1.0),
        grey: float = 0.0,
        jitter: float = 1.0,
        border: Border = "reflect",
    ) -> None:
        super().__init__()
        check_box(crop, pad, scale, aspect)
        self.crop, self.pad, self.scale, self.flip = crop, pad, (scale[0], scale[1]), flip
        self.aspect, self.border = (aspect[0], aspect[1]), border
        self.colour = ColourJitter(brightness, contrast, saturation, hue, grey, jitter)
        self.colour.check()

    def forward(self, x: Tree, rng: Generator) -> Tree:
        """Augment canvases.

        Args:
            x: images (N, C, S, S) or clips (N, C, T, S, S), uint8 or floats in [0, 1]; sounds (N, 1, L), int16 or
                floats in [-1, 1]; or a dict of these by modality.
            rng: on the device of `x`, the only source of randomness.

        Returns:
            (N, C, crop, crop) or (N, C, T, crop, crop) float32 in [0, 1]; sounds in [-1, 1]; or the dict of them.

        Raises:
            ValueError: `x` is not square, the crop does not fit, or colour jitter is asked of other than 3 channels.

        """
        first = next(iter(x.values())) if isinstance(x, dict) else x
        # One row of uniforms per sample, every column always drawn: switching colour on does not move the crops.
        draws = torch.rand(len(first), 8, generator=rng, device=first.device)
        more = torch.rand(len(first), 3, generator=rng, device=first.device)  # apart: the draws above stay as they were
        if not isinstance(x, dict):
            return self._changed(x, draws, more, colour=True)
        return {name: self._changed(part, draws, more, _has_colour(part)) for name, part in x.items()}

    def centre(self, x: Tree) -> Tree:
        """Crop the centre, at native resolution, always alike: (N, C, S, S) to (N, C, crop, crop) in [0, 1].

        Clips, sounds and dicts as in `forward`.
        """
        if isinstance(x, dict):
            return {name: self.centre(part) for name, part in x.items()}
        if x.ndim == 3:
            return unit(x)
        canvas, side = _flat(x), self._side(x)
        start = torch.full((len(x),), (x.shape[-1] + 2 * self.pad - side) // 2, device=x.device)
        still = torch.zeros_like(start, dtype=torch.bool)
        centres = window(canvas, side, self.pad, start, start, still, self.border)
        return unit(centres.view(*x.shape[:-2], side, side))

    def extra_repr(self) -> str:
        aspect = tuple(round(ratio, 3) for ratio in self.aspect)
        brightness, contrast, saturation, hue, grey, jitter = self.colour
        border = ", border=zero" if self.border == "zero" else ""
        return (
            f"crop={self.crop}, pad={self.pad}{border}, scale={self.scale}, flip={self.flip}, brightness={brightness}, "
            f"contrast={contrast}, saturation={saturation}, hue={hue}, aspect={aspect}, grey={grey}, jitter={jitter}"
        )

    def _changed(self, x: Tensor, draws: Tensor, more: Tensor, colour: bool) -> Tensor:
        """Change one modality by uniforms (N, 8) and (N, 3), of which all modalities get the same."""
        if x.ndim == 3:
            return unit(x)
        canvas, side = _flat(x), self._side(x)
        flip = draws[:, 0] < 0.5 if self.flip else torch.zeros_like(draws[:, 0], dtype=torch.bool)
        stretch = None  # of motion, across and down
        if self.scale == (1.0, 1.0):
            places = x.shape[-1] + 2 * self.pad - side + 1
            top, left = uniform_to_int(draws[:, 1:3], places).unbind(1)
            y = unit(window(canvas, side, self.pad, top, left, flip, self.border))
        else:
            box = boxes(x.shape[-1], self.scale, self.aspect, draws[:, 3], more[:, 0])
            corner = uniform_to_int(draws[:, 1:3].mT, x.shape[-1] - box + 1)
            (top, left), (height, width) = corner.unbind(), box.unbind()
            y = resized_crop(unit(canvas), top, left, height, width, side, flip)
            stretch = side / box.flip(0)
        y = y.view(*x.shape[:-2], side, side)
        if x.ndim == 5 and x.shape[1] == FLOW_CHANNELS:
            if self.pad:
                raise ValueError(f"Augment: pad={self.pad} would mirror pictures of flow, but no motion; set it to 0")
            return _moved(y, flip, torch.ones(2, len(x), device=x.device) if stretch is None else stretch)
        return self._coloured(y, draws, more) if colour and not self.colour.idle else y

    def _coloured(self, x: Tensor, draws: Tensor, more: Tensor) -> Tensor:
        """Change colours, those of a clip as if its frames were one tall picture."""
        tall = x.flatten(2, 3) if x.ndim == 5 else x
        return self.colour.changed(tall, draws[:, 4:], more[:, 1], more[:, 2]).view(x.shape)

    def _side(self, x: Tensor) -> int:
        """Check the canvas and find the side of the result."""
        canvas, side = x.shape[-1], self.crop or x.shape[-1]
        if x.ndim not in (4, 5) or x.shape[-2] != canvas:
            raise ValueError(
                f"Augment wants square canvases (N, C, S, S) or clips of them (N, C, T, S, S), got {tuple(x.shape)}; "
                "resize or crop in the data module"
            )
        if side > canvas + 2 * self.pad:
            raise ValueError(
                f"Augment: a crop of {side} does not fit a canvas of {canvas} with pad={self.pad}; "
                "lower crop, or ask the data module for a larger canvas"
            )
        return side


def unit(x: Tensor) -> Tensor:
    """Make float32 in [0, 1] of uint8, in [-1, 1] of int16 (sound); floats are there already."""
    if x.is_floating_point():
        return x.float()
    return x / (LOUDEST if x.dtype == torch.int16 else 255)


def _flat(x: Tensor) -> Tensor:
    """See all frames of a clip (N, C, T, S, S) as channels (N, C T, S, S), which are cut alike."""
    return x.flatten(1, -3)


def _has_colour(x: Tensor) -> bool:
    return x.ndim > 3 and x.shape[1] == 3


def _moved(flow: Tensor, flip: Tensor, stretch: Tensor) -> Tensor:
    """Correct the values of flow (N, 2, T, H, W) whose picture was mirrored (N,) and stretched (2, N)."""
    across, down = flow.unbind(1)
    across = torch.where(flip[:, None, None, None], opposite(across), across)
    both = torch.stack((across, down), 1)
    return torch.lerp(torch.full_like(both, STILL), both, stretch.mT[:, :, None, None, None]).clamp_(0, 1)
