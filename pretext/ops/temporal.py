"""Pure moves in time that tasks share: frames, clips, the sound that belongs to them, and time reversed.

The law of a window: its W frames and its L samples cover the same stretch of time, so that frame i begins at sample
round(i L / W). Flow is central, half of what moves to the next frame less half of what moves to the one before;
therefore the flow of a reversed clip is the reversed flow, negated, and nothing else.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pretext.core.errors import name_of, require
from pretext.core.types import Tree
from pretext.ops.geometric import uniform_to_int
from pretext.ops.tiles import other_items

STILL = 128 / 255  # flow of what does not move
FLOW_CHANNELS = 2
FADED = 0.05  # of a sound's length, at either end of what is left of it
PIECES = 16  # of a sound, where pieces of several are put together
THIRDS = 3  # groups of windows, one for each frame of three
FAR = 1e4  # frames: further than any moment is from another
SIDE = 32  # frames are compared at this many pixels at most: as telling, and cheap


def take_frames(x: Tensor, index: Tensor) -> Tensor:
    """Pick frames by number.

    Args:
        x: (N, C, W, *S).
        index: (N, K) int64 in [0, W).

    Returns:
        (N, C, K, *S), frame k of which is x[:, :, index[:, k]].

    """
    shape = (len(x), x.shape[1], index.shape[1], *x.shape[3:])
    wide = index.view(len(index), 1, -1, *(1 for _ in x.shape[3:])).expand(shape)  # not copied
    return x.gather(2, wide)


def cut_clips(x: Tensor, starts: Tensor, frames: int) -> Tensor:
    """Cut windows out of time.

    Args:
        x: (N, C, W, *S).
        starts: (N,) int64, first frame of each, or (N, K) for several of one item.
        frames: length of all of them.

    Returns:
        (N, C, frames, *S), or (N K, C, frames, *S), item by item.

    """
    steps = torch.arange(frames, device=x.device)
    if starts.ndim == 1:
        return take_frames(x, starts[:, None] + steps)
    several = take_frames(x, (starts[..., None] + steps).flatten(1))  # (N, C, K frames, *S)
    parts = several.view(*x.shape[:2], -1, frames, *x.shape[3:])
    return parts.movedim(2, 1).flatten(0, 1)


def sample_span(start: Tensor, frames: int, window: int, samples: int) -> tuple[Tensor, int]:
    """Find the sound of frames `start` ... `start + frames - 1`: its first sample, and how many there are.

    Exact for whole numbers; a half is rounded up. The last samples of a window may fall short by one of what rounding
    asks for, so a start is moved back where needed.
    """
    count = (2 * frames * samples + window) // (2 * window)
    first = (2 * start * samples + window) // (2 * window)
    return first.clamp(max=samples - count), count


def cut_sounds(x: Tensor, starts: Tensor, frames: int, window: int) -> Tensor:
    """Cut the sound of clips out of that of their windows.

    Args:
        x: (N, 1, L), the sound of `window` frames.
        starts: (N,) int64, first frame of each clip, or (N, K) for several of one item.
        frames: length of the clips.
        window: length of the window, frames.

    Returns:
        (N, 1, l) or (N K, 1, l), l = round(frames L / window).

    """
    first, count = sample_span(starts, frames, window, x.shape[-1])
    return cut_clips(x, first, count)


def cut_moments(x: Tensor, starts: Tensor, frames: int, window: int) -> Tensor:
    """Cut clips (N, C, frames, *S), or the sound of clips, out of windows of `window` frames."""
    return cut_sounds(x, starts, frames, window) if x.ndim == 3 else cut_clips(x, starts, frames)


def cut_rows(x: Tensor, rows: Tensor, starts: Tensor, frames: int, window: int) -> Tensor:
    """Cut clips, or their sound, out of some of the windows, in one gather: no window is copied to be cut.

    Args:
        x: (N, C, window, *S), or the sound (N, 1, L) of `window` frames.
        rows: (M,) int64, the item that each clip is of.
        starts: (M,) int64, the first frame of each.
        frames: length of all of them.
        window: length of the windows, frames.

    Returns:
        (M, C, frames, *S), or (M, 1, l).

    """
    if x.ndim == 3:
        starts, frames = sample_span(starts, frames, window, x.shape[-1])
    steps = starts[:, None] + torch.arange(frames, device=x.device)
    return x[rows[:, None], :, steps].movedim(1, 2)


def random_clip(asker: object, x: Tensor, frames: int, rng: Generator) -> Tensor:
    """Cut a clip of `frames` out of each window (N, C, W, *S), at random.

    Raises:
        ValueError: the windows are too short; the message names the asker and what to do.

    """
    got = f"frames={frames}, but the windows have {x.shape[2]}"
    require(x.shape[2] >= frames, asker, got, "lower it, or raise window in the data module")
    return cut_clips(x, random_starts(len(x), x.shape[2], frames, rng), frames)


def require_modalities(asker: object, x: Tree, first: str, second: str) -> None:
    """Refuse a batch that lacks one of two modalities.

    Raises:
        ValueError: the message names the asker and what to do.

    """
    if not isinstance(x, dict) or not {first, second} <= x.keys():
        got = f"one of {', '.join(x)}" if isinstance(x, dict) else "one modality without a name"
        raise ValueError(
            f"{name_of(asker)}: wants a batch of {first!r} and {second!r}, got {got}; set "
            f"modalities: [{first}, {second}] in the data module"
        )


def window_of(asker: object, x: Tree, first: str, second: str) -> int:
    """Tell how many frames the windows of two modalities of a batch have.

    Raises:
        ValueError: `x` lacks one of them; the message names the asker and what to do.

    """
    require_modalities(asker, x, first, second)
    return next(int(x[name].shape[2]) for name in (first, second) if x[name].ndim == 5)


def same_moment(
    asker: object, x: Tree, first: str, second: str, frames: int | None, rng: Generator
) -> dict[str, Tensor]:
    """Cut the same moment out of both modalities of every item, a random one; whole windows where `frames` is none.

    Raises:
        ValueError: `x` lacks a modality, or its windows are too short.

    """
    window = window_of(asker, x, first, second)
    frames = window if frames is None else frames
    require(
        frames <= window,
        asker,
        f"clips of {frames} frames do not fit windows of {window}",
        f"raise `window` in the data module to {frames} or more, or lower frames",
    )
    starts = random_starts(len(x[first]), window, frames, rng)
    return {name: cut_moments(x[name], starts, frames, window) for name in (first, second)}


def reverse(x: Tensor) -> Tensor:
    """Turn time round: clips (N, C, T, H, W), of which two channels are central flow, or waveforms (N, 1, L)."""
    if x.ndim == 3:
        return x.flip(-1)
    backward = x.flip(2)
    return opposite(backward) if is_flow(x) else backward


def without_ends(x: Tensor, share: float) -> Tensor:
    """Silence both ends of the sounds in waveforms (N, 1, L), `share` of each at either end, and fade what is left.

    A sound goes from its first sample that is not 0 to its last. What is left rises and falls over `FADED` of its
    length, alike at both ends, so that the end of a reversed sound is the reversed end, bit for bit.
    """
    heard, samples = x.flatten(1) != 0, x.shape[-1]
    first, last = heard.int().argmax(1, keepdim=True), samples - 1 - heard.flip(1).int().argmax(1, keepdim=True)
    length = last - first + 1
    cut = (length * share).long()
    time = torch.arange(samples, device=x.device)
    inside = torch.minimum(time - first, last - time) - cut  # samples from the nearer of the two new ends
    ramp = (inside + 1) / (length * FADED).clamp(min=1)
    return x * ramp.clamp(0, 1).unsqueeze(1).to(x.dtype)


def is_flow(x: Tensor) -> bool:
    """Tell whether these are clips (N, C, T, H, W) of flow."""
    return x.ndim == 5 and x.shape[1] == FLOW_CHANNELS


def opposite(flow: Tensor) -> Tensor:
    """Negate motion: values around STILL, mirrored at it."""
    return 2 * STILL - flow


def random_starts(n: int, window: int, frames: int, rng: Generator) -> Tensor:
    """Draw where clips of `frames` begin in windows: (n,) int64, uniform in [0, window - frames]."""
    return uniform_to_int(torch.rand(n, generator=rng, device=rng.device), window - frames + 1)


def shuffled_orders(n: int, frames: int, rng: Generator, device: torch.device) -> Tensor:
    """Draw orders (n, frames) that are neither sorted nor reversed: these two are moved on by one place instead."""
    order = torch.rand(n, frames, generator=rng, device=device).argsort(1)
    steps = order.diff(dim=1)
    monotone = (steps == 1).all(1, keepdim=True) | (steps == -1).all(1, keepdim=True)
    return torch.where(monotone, order.roll(1, 1), order)


def frame_differences(x: Tensor) -> Tensor:
    """Compare all frames of windows (N, C, W, H, W'): (N, W, W) mean squared differences over their mean.

    So a dark window is like a bright one. Where nothing moves all are 0.
    """
    small = functional.adaptive_avg_pool2d(x.flatten(1, 2), (min(SIDE, x.shape[-2]), min(SIDE, x.shape[-1]))).float()
    frames = small.view(*x.shape[:3], -1).transpose(1, 2).flatten(2)  # (N, W, pixels)
    frames = frames - frames.mean(1, keepdim=True)  # or what all frames share would drown in rounding how they differ
    products = frames @ frames.mT
    squares = products.diagonal(dim1=1, dim2=2)
    apart: Tensor = squares[:, :, None] + squares[:, None] - 2 * products
    return apart / apart.mean((1, 2), keepdim=True).clamp(min=1e-12)


def swap_moments(x: Tensor, rng: Generator) -> Tensor:
    """Put other items' frames in the places of an item's own, of clips (N, C, T, H, W), or pieces of sounds (N, 1, L).

    N >= 2. Neighbouring frames, or sixteenths of a sound, are of different items, if there are as many others. What is
    left tells how a moment's place in a clip looks or sounds, and nothing of what goes on.
    """
    moments = x.shape[2]
    pieces = moments if x.ndim > 3 else min(PIECES, moments)
    time = torch.arange(moments, device=x.device)
    source = other_items(len(x), pieces, rng)[:, time * pieces // moments]
    return x[source, :, time].movedim(1, 2)


def swap_frames(frames: Tensor, moments: Tensor, windows: Tensor, rng: Generator) -> Tensor:
    """Put other windows' frames in the places of a tuple's own: of those at hand, that of the nearest moment.

    Args:
        frames: (M, P, ...), P frames of each tuple.
        moments: (M, P) int64, when they are, counted from the beginnings of their windows.
        windows: (M,) int64, which window a tuple is of; two at least.
        rng: draws among frames of the same distance.

    Returns:
        (M, P, ...); the P frames of a tuple are of different windows where there are enough.

    """
    m, places = moments.shape
    apart = (moments.flatten()[:, None] - moments.flatten()).abs().float()
    apart += 0.5 * torch.rand(apart.shape, generator=rng, device=apart.device)
    mine = windows.repeat_interleave(places)
    distance = mine - mine[:, None]
    place = torch.arange(places, device=moments.device).repeat(m)[:, None]
    apart += FAR * ((distance % THIRDS) != place % THIRDS) + FAR**2 * (distance == 0)
    return frames.flatten(0, 1)[apart.argmin(1)].view_as(frames)
