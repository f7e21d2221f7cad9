"""Augmentation of whole batches on the device: every sample with its own draw, no per-sample Python.

The loader delivers square uint8 canvases a little larger than the crop; this module crops, flips and jitters them. The
order is fixed: crop (or resized crop), flip, brightness, contrast, saturation, hue, loss of colour. One draw goes for
all frames of a clip and for all modalities of an item: what moves through a clip is the content alone.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.core.types import Tree
from pretext.ops.geometric import gather_pixels, reflect, uniform_to_int
from pretext.ops.temporal import FLOW_CHANNELS, STILL, opposite

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to torchvision's digits
LOUDEST = 2**15  # of a sound in 16 bits


class Augment(nn.Module):
    """Crop, flip and colour jitter for batches of square images or clips, with per-sample draws.

    With `scale=(1, 1)` the crop is a window of `crop` x `crop` pixels at native resolution, anywhere in the canvas,
    which reflection makes `pad` pixels wider on each side: one gather on the uint8 data, no resampling. With any other
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
        pad: pixels that reflection adds on each side, for native crops only. Not for tasks that hide or move parts of
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
    ) -> None:
        super().__init__()
        _check_box(crop, pad, scale, aspect)
        _check_colour(brightness, contrast, saturation, hue, grey, jitter)
        self.crop, self.pad, self.scale, self.flip = crop, pad, (scale[0], scale[1]), flip
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.aspect, self.grey, self.jitter = (aspect[0], aspect[1]), grey, jitter

    def forward(self, x: Tree, rng: Generator) -> Tree:
        """Augment canvases.

        Args:
            x: images (N, C, S, S) or clips (N, C, T, S, S), uint8 or floats in [0, 1]; sounds (N, 1, L), int16 or
                floats in [-1, 1]; or a dict of these by modality.
            rng: on the device of `x`, the only source of chance.

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
        """Crop the centre, at native resolution and without chance: (N, C, S, S) to (N, C, crop, crop) in [0, 1].

        Clips, sounds and dicts as in `forward`.
        """
        if isinstance(x, dict):
            return {name: self.centre(part) for name, part in x.items()}
        if x.ndim == 3:
            return unit(x)
        canvas, side = _flat(x), self._side(x)
        start = torch.full((len(x),), (x.shape[-1] + 2 * self.pad - side) // 2, device=x.device)
        window = self._window(canvas, side, start, start, torch.zeros_like(start, dtype=torch.bool))
        return unit(window.view(*x.shape[:-2], side, side))

    def extra_repr(self) -> str:
        colour = f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"
        aspect = tuple(round(ratio, 3) for ratio in self.aspect)
        return (
            f"crop={self.crop}, pad={self.pad}, scale={self.scale}, flip={self.flip}, {colour}, aspect={aspect}, "
            f"grey={self.grey}, jitter={self.jitter}"
        )

    def _changed(self, x: Tensor, draws: Tensor, more: Tensor, colour: bool) -> Tensor:
        """Change one modality by uniforms (N, 8) and (N, 3), of which all modalities get the same."""
        if x.ndim == 3:
            return unit(x)
        canvas, side = _flat(x), self._side(x)
        flip = (draws[:, 0] < 0.5) & self.flip
        stretch = torch.ones(2, len(x), device=x.device)  # of motion, across and down
        if self.scale == (1.0, 1.0):
            places = x.shape[-1] + 2 * self.pad - side + 1
            y = unit(
                self._window(
                    canvas, side, uniform_to_int(draws[:, 1], places), uniform_to_int(draws[:, 2], places), flip
                )
            )
        else:
            height, width = self._box(x.shape[-1], draws[:, 3], more[:, 0])
            top, left = (
                uniform_to_int(draws[:, 1], x.shape[-1] - height + 1),
                uniform_to_int(draws[:, 2], x.shape[-1] - width + 1),
            )
            y = resized_crop(unit(canvas), top, left, height, width, side, flip)
            stretch = side / torch.stack((width, height))
        y = y.view(*x.shape[:-2], side, side)
        if x.ndim == 5 and x.shape[1] == FLOW_CHANNELS:
            if self.pad:
                raise ValueError(f"Augment: pad={self.pad} would mirror pictures of flow, but no motion; set it to 0")
            return _moved(y, flip, stretch)
        return self._coloured(y, draws, more) if colour else y

    def _coloured(self, x: Tensor, draws: Tensor, more: Tensor) -> Tensor:
        """Change colours, those of a clip as if its frames were one tall picture."""
        tall = x.flatten(2, 3) if x.ndim == 5 else x
        jittered = self._jitter(tall, draws[:, 4:])
        if self.jitter < 1:
            jittered = torch.where(_some(more[:, 1], self.jitter), jittered, tall)
        if self.grey:
            jittered = torch.where(_some(more[:, 2], self.grey), luma(jittered), jittered)
        return jittered.view(x.shape)

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

    def _window(self, x: Tensor, side: int, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Cut a native window at each sample's corner (N,), in coordinates of the padded canvas."""
        steps = torch.arange(side, device=x.device)
        rows = top[:, None] + steps - self.pad
        columns = left[:, None] + torch.where(flip[:, None], steps.flip(0), steps) - self.pad
        if self.pad:
            rows, columns = reflect(rows, x.shape[-1]), reflect(columns, x.shape[-1])
        return gather_pixels(x, rows[:, None], columns[:, None])

    def _box(self, canvas: int, area: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Make heights and widths (N,) in whole pixels from uniforms (N,)."""
        share = self.scale[0] + (self.scale[1] - self.scale[0]) * area
        # A box of share s fits if its width by height is in [s, 1/s].
        low, high = (torch.full_like(share, end).clamp(share, 1 / share).log() for end in self.aspect)
        stretch = (torch.lerp(low, high, ratio) / 2).exp()
        sides = share.sqrt() / stretch, share.sqrt() * stretch
        height, width = ((side * canvas).round().clamp(1, canvas) for side in sides)
        return height, width

    def _jitter(self, x: Tensor, draws: Tensor) -> Tensor:
        """Change colours by factors made from (N, 4) uniforms."""
        changes = self.brightness or self.contrast or self.saturation or self.hue
        if (changes or self.grey) and x.shape[1] != 3:
            raise ValueError(
                f"Augment: colour jitter wants RGB, got {x.shape[1]} channels; set its four options and grey to 0"
            )
        if not changes:
            return x
        symmetric = (2 * draws - 1)[..., None, None, None]  # (N, 4, 1, 1, 1) in [-1, 1)
        if self.brightness:
            x = brightness(x, (1 + self.brightness * symmetric[:, 0]).clamp(min=0))
        if self.contrast:
            x = contrast(x, (1 + self.contrast * symmetric[:, 1]).clamp(min=0))
        if self.saturation:
            x = saturation(x, (1 + self.saturation * symmetric[:, 2]).clamp(min=0))
        return hue(x, self.hue * symmetric[:, 3]) if self.hue else x


def _check_box(crop: int | None, pad: int, scale: tuple[float, float], aspect: tuple[float, float]) -> None:
    """Raise a ValueError that names what is out of its range."""
    if crop is not None and crop < 1:
        raise ValueError(f"Augment: crop is {crop}; give a side of at least 1 pixel, or None to keep the canvas")
    if pad < 0:
        raise ValueError(f"Augment: pad is {pad}; give 0 or more pixels")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"Augment: scale is {tuple(scale)}; give shares of the area, 0 < smallest <= largest <= 1")
    if not 0 < aspect[0] <= aspect[1]:
        raise ValueError(f"Augment: aspect is {tuple(aspect)}; give ratios of width to height, 0 < smallest <= largest")
    native = tuple(scale) == (1.0, 1.0)
    if pad and not native:
        raise ValueError(f"Augment: pad={pad} belongs to native crops; set it to 0 or scale to (1, 1)")
    if native and tuple(aspect) != (1.0, 1.0):
        raise ValueError(
            f"Augment: aspect={tuple(aspect)} belongs to resized crops; give scale, or set aspect to (1, 1)"
        )


def _check_colour(
    brightness: float, contrast: float, saturation: float, hue: float, grey: float, jitter: float
) -> None:
    """Raise a ValueError that names what is out of its range."""
    if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
        raise ValueError(
            f"Augment: brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}; "
            "none may be negative, hue at most 0.5"
        )
    if not (0 <= grey <= 1 and 0 <= jitter <= 1):
        raise ValueError(f"Augment: grey={grey}, jitter={jitter}; give probabilities in [0, 1]")


def _some(uniform: Tensor, share: float) -> Tensor:
    """Choose a share of the samples by uniforms (N,): bool (N, 1, 1, 1)."""
    return (uniform < share)[:, None, None, None]


def unit(x: Tensor) -> Tensor:
    """Make float32 in [0, 1] of uint8, in [-1, 1] of int16 (sound); floats are there already."""
    if x.is_floating_point():
        return x.float()
    return x.float().div_(LOUDEST if x.dtype == torch.int16 else 255)


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


def resized_crop(
    x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, side: int, flip: Tensor
) -> Tensor:
    """Resize each sample's own box to a square, as torchvision's antialiased `resized_crop` does, and mirror some.

    A separable filter is two matrices per sample, so a batch of different boxes is two batched products; this also
    antialiases, which sampling on a grid would not.

    Args:
        x: (N, C, S, S) floats.
        top: (N,) first row of the box.
        left: (N,) first column.
        height: (N,) of the box, whole pixels.
        width: (N,) likewise.
        side: of the result.
        flip: (N,) bool.

    Returns:
        (N, C, side, side).

    """
    rows = _triangles(top, height, x.shape[-1], side)
    columns = _triangles(left, width, x.shape[-1], side)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(x.device.type, enabled=False):  # pixels keep float32, whatever the training step around us does
        narrow = (x.flatten(1, 2) @ columns.mT).view(*x.shape[:3], side)  # (N, C, S, side)
        return torch.matmul(rows.unsqueeze(1), narrow).clamp_(0, 1)


def _triangles(start: Tensor, box: Tensor, canvas: int, side: int) -> Tensor:
    """Weigh canvas pixels for each result pixel: (N, side, canvas), rows that sum to 1."""
    device = start.device
    ratio = (box / side)[:, None, None]
    centres = start[:, None, None] + (torch.arange(side, device=device)[:, None] + 0.5) * ratio
    pixels = torch.arange(canvas, device=device)
    # Shrinking widens the triangle to cover all pixels that fall into one; enlarging interpolates between two.
    weights = (1 - (pixels + 0.5 - centres).abs() / ratio.clamp(min=1)).clamp(min=0)
    inside = (pixels >= start[:, None, None]) & (pixels < (start + box)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(-1, keepdim=True)


def luma(x: Tensor) -> Tensor:
    """Weigh RGB (N, 3, H, W) to brightness (N, 1, H, W)."""
    red, green, blue = x.chunk(3, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale RGB (N, 3, H, W) in [0, 1] by each sample's factor (N, 1, 1, 1) >= 0; 1 changes nothing."""
    return (x * factor).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from (or towards) the image's mean luma; factors as in `brightness`."""
    return torch.lerp(luma(x).mean((-1, -2), keepdim=True), x, factor).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from (or towards) its own luma; factors as in `brightness`."""
    return torch.lerp(luma(x), x, factor).clamp_(0, 1)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the HSV colour wheel by each sample's share of a turn (N, 1, 1, 1); 0 changes nothing."""
    red, green, blue = x.chunk(3, dim=1)
    top, bottom = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = top - bottom
    safe = chroma.clamp(min=1e-12)  # a grey pixel has no hue; its differences are 0, so any divisor will do
    of_red, of_green, of_blue = (green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4
    sextant = torch.where(top == red, of_red, torch.where(top == green, of_green, of_blue)) + 6 * turn
    offsets = 5 - 2 * torch.arange(3, device=x.device).view(3, 1, 1)  # of red, green, blue on the wheel of six
    place = (sextant + offsets).remainder(6)
    return top - chroma * torch.minimum(place, 4 - place).clamp(0, 1)
