"""What takes the content from loaded data, or from a question, and leaves one clue."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from pretext.core.tree import leaves, mapped
from pretext.core.types import Puzzle, Task, Tree
from pretext.ops.geometric import MEAN
from pretext.ops.resample import resample

BORDER = 16  # a border is so many times narrower than the picture, or the sound long
INNER = 8  # of what borders are compared with such a part of the side is taken from further in
LENS = 0.03  # by which red is larger and blue smaller than green: more than by any lens, or a small budget misses it
FINE, CONTRAST = 6, 3.0  # of the grain that shows it: lines in a pixel, and how much it is enhanced
QUALITY = 30  # of JPEG: coarse, so that new blocks outdo those that were there
HALF_A_BLOCK = 4  # pixels by which blocks are shifted
SHRUNK = 3 / 4  # of a side, before it is enlarged again
LEVELS, LOUDEST = 256, 2**15


def noise(x: Tree, rng: Generator) -> Tree:
    """Put independent noise in place of loaded pixels (uint8) and samples (int16)."""

    def make(leaf: Tensor) -> Tensor:
        low, high = (0, LEVELS) if leaf.dtype == torch.uint8 else (-LOUDEST, LOUDEST)
        return torch.randint(low, high, leaf.shape, generator=rng, device=leaf.device, dtype=leaf.dtype)

    return mapped(make, x)


def constant(x: Tree, rng: Generator) -> Tree:
    """Put one colour, one motion or one level of its own in place of each item."""

    def make(leaf: Tensor) -> Tensor:
        alike = (*leaf.shape[:2], *(1 for _ in leaf.shape[2:]))
        low, high = (0, LEVELS) if leaf.dtype == torch.uint8 else (-LOUDEST, LOUDEST)
        drawn = torch.randint(low, high, alike, generator=rng, device=leaf.device, dtype=leaf.dtype)
        return drawn.expand(leaf.shape).contiguous()

    return mapped(make, x)


def same(x: Tree, rng: Generator, lens: Callable[[Tree, Generator], Tree]) -> Tree:
    """Put in place of all items what a lens makes of the first, so that nothing tells one item from another."""

    def make(leaf: Tensor) -> Tensor:
        one = lens(leaf[:1], rng)
        assert isinstance(one, Tensor)
        return one.expand(leaf.shape).contiguous()

    return mapped(make, x)


def aberration(x: Tree, rng: Generator) -> Tree:
    """Put grey grain in place of all, seen through a lens that magnifies red more than green, and blue less."""

    def make(leaf: Tensor) -> Tensor:
        if leaf.ndim < 4 or leaf.shape[1] != 3:
            drawn: Tensor = noise(leaf, rng)
            return drawn
        seen = (255 * _fringed(len(leaf), leaf.shape[-2], leaf.shape[-1], rng)).round().to(torch.uint8)
        return seen if leaf.ndim == 4 else seen.unsqueeze(2).expand(leaf.shape).contiguous()

    return mapped(make, x)


def reencoded(x: Tree, rng: Generator, shift: int = 0) -> Tree:
    """Compress pictures of one or three channels as JPEG, with blocks that begin `shift` pixels outside of them."""
    return mapped(partial(_of_pictures, change=partial(_through_jpeg, shift=shift)), x)


def resized(x: Tree, rng: Generator, kernel: str) -> Tree:
    """Shrink pictures to three quarters of their sides and enlarge them again, by one kernel."""
    return mapped(partial(_of_pictures, change=partial(_there_and_back, kernel=kernel)), x)


def borders(task: Task, puzzle: Puzzle, rng: Generator) -> Puzzle:
    """Keep the outer sixteenth of what is shown: a frame of each picture, both ends of each sound."""
    return puzzle._replace(question=mapped(_framed, puzzle.question))


def borders_from_within(task: Task, puzzle: Puzzle, rng: Generator) -> Puzzle:
    """Keep what `borders` do of pictures whose outer eighth is made of what lies further in, mirrored.

    That shows as much content, without traces up to an eighth of the side wide. It lies at the edge, or a network would
    not know its place as well: it tells that by the zeros that it pads with.
    """
    return puzzle._replace(question=mapped(lambda leaf: _framed(_mirrored_outwards(leaf)), puzzle.question))


def blank(task: Task, puzzle: Puzzle, rng: Generator) -> Puzzle:
    """Show one grey, or silence."""
    return puzzle._replace(question=mapped(_empty, puzzle.question))


def destroyed(task: Task, puzzle: Puzzle, rng: Generator) -> Puzzle:
    """Take the task's own control.

    Raises:
        ValueError: it has none.

    """
    other = task.destroyed(puzzle, rng)
    if other is None:
        raise ValueError(f"{type(task).__name__} has no control of its own; see Task.destroyed")
    return other


def has_pictures(x: Tree, channels: tuple[int, ...]) -> bool:
    """Tell whether any tensor of a tree is of pictures or clips of so many channels."""
    return any(leaf.ndim > 3 and leaf.shape[1] in channels for leaf in leaves(x))


def kept_by_borders(question: Tree) -> float:
    """Say which share of the pixels or samples `borders` keeps; of several tensors the largest."""
    return max(1 - leaf[_inside(leaf)].numel() / leaf.numel() for leaf in leaves(question))


def _framed(x: Tensor) -> Tensor:
    kept = x.clone()
    kept[_inside(x)] = _empty_of(x)
    return kept


def _mirrored_outwards(x: Tensor) -> Tensor:
    for axis in _axes(x):
        side, cut = x.shape[axis], _edge(x, axis, INNER)
        places = torch.arange(side, device=x.device)
        places = torch.where(places < cut, 2 * cut - 1 - places, places)
        places = torch.where(places >= side - cut, 2 * (side - cut) - 1 - places, places)
        x = x.index_select(axis, places.clamp(0, side - 1))
    return x


def _inside(x: Tensor) -> tuple[slice, ...]:
    """Find what is not border: a sixteenth of each side, of sounds of their length, at least one pixel or sample."""
    inside = [slice(None)] * x.ndim
    for axis in _axes(x):
        edge = _edge(x, axis, BORDER)
        inside[axis] = slice(edge, x.shape[axis] - edge)
    return tuple(inside)


def _axes(x: Tensor) -> tuple[int, ...]:
    return (-1,) if x.ndim == 3 else (-2, -1)


def _edge(x: Tensor, axis: int, part: int) -> int:
    return max(1, x.shape[axis] // part)


def _empty_of(x: Tensor) -> Tensor:
    """Return what is put where nothing is left: silence, or the batch's mean colour, (1, C, 1, ...)."""
    return x.new_zeros([1] * x.ndim) if x.ndim == 3 else _mean_colour(x)


def _mean_colour(x: Tensor) -> Tensor:
    """Average a batch of pictures or clips: (1, C, 1, ...), beside which borders stand out as little as they can."""
    return x.mean((0, *range(2, x.ndim)), keepdim=True)


def _empty(x: Tensor) -> Tensor:
    return torch.zeros_like(x) if x.ndim == 3 else torch.full_like(x, MEAN)


def _fringed(n: int, height: int, width: int, rng: Generator) -> Tensor:
    """Draw grey grain as a lens shows it, red larger than green and blue smaller: (n, 3, H, W) in [0, 1].

    Neighbouring pixels have nothing in common, so that no shape goes on from one to the next. Each colour adds up the
    fine grain that it sees in a pixel. Where a line of it counts twice or not at all is drawn, or that would tell.
    """
    grain = torch.rand(n, FINE * height, FINE * width, generator=rng, device=rng.device)
    items = torch.arange(n, device=rng.device)[:, None, None]
    colours = []
    for zoom in (1 + LENS, 1.0, 1 - LENS):
        off = torch.rand(2, n, 1, generator=rng, device=rng.device)
        rows, columns = (_seen(FINE * side, zoom, part) for side, part in zip((height, width), off, strict=True))
        colours.append(functional.avg_pool2d(grain[items, rows[:, :, None], columns[:, None]], FINE))
    seen: Tensor = 0.5 + CONTRAST * (torch.stack(colours, 1) - 0.5)
    return seen.clamp(0, 1)


def _seen(lines: int, zoom: float, off: Tensor) -> Tensor:
    """Find which lines of the grain are seen at each, (n, lines), by a colour that is enlarged about the middle."""
    place = torch.arange(lines, device=off.device) - (lines - 1) / 2
    found = (place / zoom + (lines - 1) / 2 + off).floor().long()
    return torch.where(found < 0, -found - 1, torch.where(found >= lines, 2 * lines - 1 - found, found))  # mirrored


def _of_pictures(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change pictures (M, C, H, W) of one or three channels, those of clips frame by frame; leave all else."""
    if x.ndim < 4 or x.shape[1] not in (1, 3):
        return x
    if x.ndim == 4:
        return change(x)
    frames = x.transpose(1, 2)
    return change(frames.flatten(0, 1)).view(frames.shape).transpose(1, 2).contiguous()


def _through_jpeg(x: Tensor, shift: int) -> Tensor:
    """Encode and decode uint8 (M, C, H, W), on the processor."""
    padded = functional.pad(x.cpu().float(), (shift, 0, shift, 0), mode="replicate").to(torch.uint8)
    done = [_jpeg(each.permute(1, 2, 0).squeeze(-1).numpy()) for each in padded]
    pictures = torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)
    return pictures[..., shift:, shift:].contiguous().to(x.device)


def _jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compress a picture (H, W, 3) or (H, W): what is left, (H, W, 3) or (H, W, 1)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=QUALITY)
    return np.asarray(Image.open(file)).reshape(*pixels.shape[:2], -1)


def _there_and_back(x: Tensor, kernel: str) -> Tensor:
    height, width = x.shape[-2:]
    small = resample(x.float(), max(1, round(SHRUNK * height)), max(1, round(SHRUNK * width)), kernel)
    return resample(small, height, width, kernel).round().clamp(0, 255).to(x.dtype)
