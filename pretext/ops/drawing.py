"""Drawings of puzzles: rows of panels; clips as frames side by side, motion as colour, sounds as spectrograms."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from pretext.core.types import Panel, Puzzle
from pretext.ops.geometric import drawable
from pretext.ops.temporal import STILL

GAP = 2  # pixels of white between two frames
LEAST = 0.02  # of the scale of motion, has full colour at least: below, noise would
BINS = 64  # rows of a spectrogram, pixels
SHOWN, WIDTH, HEIGHT = 32, 128, 32  # of stripes: how many numbers, in so many pixels at most
TALL, BAR = 64, 4  # height of bars, and the width of each, pixels
CELL = 12  # pixels of a number with its line
LETTERS, LINES, INK = 28, 3, 24  # of a text that is drawn: letters of a line, lines, and pixels of a letter's height
GLYPHS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717")
ASPECT = 4  # its columns for each row
RANGE = 6.0  # from black to white, in units of ln of the amplitude: 52 dB
_BLACK, _RED, _YELLOW = (0.0, 0.0, 0.1), (0.75, 0.15, 0.35), (1.0, 0.95, 0.65)  # of a spectrogram, quiet to loud


def panels(images: Iterable[Tensor], captions: str | Iterable[str], right: Tensor | None = None) -> list[Panel]:
    """Make a column of a drawing, one panel for each puzzle.

    Args:
        images: (3, H, W) each.
        captions: one for each image, or one for all.
        right: (N,) bool, whether each image shows a right answer; none: there is nothing to judge.

    """
    pictures = list(images)
    texts = [captions] * len(pictures) if isinstance(captions, str) else captions
    verdicts = [None] * len(pictures) if right is None else right.tolist()
    return [Panel(*parts) for parts in zip(pictures, texts, verdicts, strict=True)]


def rows(*columns: Iterable[Panel]) -> list[list[Panel]]:
    """Lay out columns of panels side by side: one row for each puzzle."""
    return [list(row) for row in zip(*columns, strict=True)]


def choices(
    asked: Iterable[Panel],
    puzzle: Puzzle,
    prediction: Tensor | None,
    draw: Callable[[int, int], Tensor],
    name: Callable[[int], str],
    note: str = "",
) -> list[list[Panel]]:
    """Lay out puzzles that ask for one of K choices: the question, the answer and, if there is one, the prediction.

    Args:
        asked: the questions.
        puzzle: its answer is (N,) int64, the right choices.
        prediction: (N, K) logits, of which the largest counts; none: it is left out.
        draw: draws puzzle i as if choice k were right, (3, H, W).
        name: names choice k.
        note: what the answer's captions say after the name.

    """

    def column(who: str, chosen: list[int], right: Tensor | None = None) -> list[Panel]:
        return panels((draw(i, k) for i, k in enumerate(chosen)), [f"{who}: {name(k)}" for k in chosen], right)

    answer: Tensor = puzzle.answer
    true = [panel._replace(caption=panel.caption + note) for panel in column("answer", answer.tolist())]
    columns = [list(asked), true]
    if prediction is not None:
        guesses = prediction.argmax(1)
        columns.append(column("prediction", guesses.tolist(), guesses == answer))
    return rows(*columns)


def numbers(order: Tensor, grid: int) -> Tensor:
    """Draw a grid of numbers, those of `order` (grid * grid,) from 0 counted from 1, black on white: (3, S, S)."""
    picture = torch.ones(grid * CELL + 1, grid * CELL + 1)
    picture[::CELL], picture[:, ::CELL] = 0.5, 0.5
    for place, number in enumerate(order.tolist()):
        digits = [_glyph(digit) for digit in str(number + 1)]
        ink = torch.cat([part for digit in digits for part in (digit, torch.zeros(5, 1))][:-1], 1)
        top, left = (place // grid) * CELL + 4, (place % grid) * CELL + (CELL - ink.shape[1] + 1) // 2
        picture[top : top + 5, left : left + ink.shape[1]] -= ink
    return picture.expand(3, -1, -1)


def _glyph(digit: str) -> Tensor:
    """Draw a digit of 5 x 3 pixels, 1 where there is ink; a row is an octal number."""
    octal = [int(row) for row in GLYPHS[int(digit)]]
    return torch.tensor([[row >> 2 & 1, row >> 1 & 1, row & 1] for row in octal], dtype=torch.float32)


def stacked(pictures: Iterable[Tensor]) -> Tensor:
    """Lay pictures (3, h, W) one below the other, with a white gap between them: (3, H, W)."""
    first, *others = pictures
    white = first.new_ones(3, GAP, first.shape[2])
    return torch.cat([first, *(part for picture in others for part in (white, picture))], 1)


def written(text: str) -> Tensor:
    """Write a text, black on a pale box: (3, h, w). What does not fit in its lines ends in an ellipsis."""
    lines = "\n".join(textwrap.wrap(text, LETTERS, max_lines=LINES, placeholder=" ..."))
    box = Image.new("L", (LETTERS * INK // 2 + 2 * INK, (LINES + 1) * (INK + INK // 4)), 240)
    pen, font = ImageDraw.Draw(box), ImageFont.load_default(INK)
    wide = pen.multiline_textbbox((0, 0), lines, font)[2] / (box.width - 2 * INK)
    font = font if wide <= 1 else ImageFont.load_default(INK / wide)  # of broad letters
    pen.multiline_text((INK, box.height / 2), lines, fill=20, font=font, anchor="lm", spacing=INK // 4)
    return torch.from_numpy(np.array(box)).float().div(255).expand(3, -1, -1)


def thumbnail(clip: Tensor) -> Tensor:
    """Draw a clip (C, T, H, W) as a film, a sound (1, L) as a spectrogram."""
    return spectrogram(clip) if clip.ndim == 2 else film_strip(clip)


def film_strip(clip: Tensor, frames: int = 4, scale: Tensor | None = None) -> Tensor:
    """Lay frames of a clip (C, T, H, W) side by side, first to last, evenly chosen: (3, H, w).

    Three channels are RGB, one is grey, two are flow: its direction is the hue and its speed the depth of the colour,
    which is full for the fastest motion of `scale`, another clip of flow, or else of this one.
    """
    count = min(frames, clip.shape[1])
    chosen = [round(k * (clip.shape[1] - 1) / max(1, count - 1)) for k in range(count)]
    images = drawable(clip[:, chosen].transpose(0, 1))  # (count, C, H, W)
    if images.shape[1] == 2:
        images = _wheel(images, drawable(clip if scale is None else scale).transpose(0, 1))
    images = images.expand(-1, 3, -1, -1)
    spaced = functional.pad(images, (0, GAP), value=1.0)
    strip = spaced.permute(1, 2, 0, 3).flatten(2)
    return strip[..., :-GAP]


def _wheel(flow: Tensor, scale: Tensor) -> Tensor:
    """Colour flow (N, 2, H, W): right is red, down yellow-green, left cyan, up violet; what stands still is white.

    The fastest motion of `scale` (M, 2, H, W) has full colour.
    """
    u, v = (flow - STILL).unbind(1)
    fastest = torch.hypot(*(scale - STILL).unbind(1)).max()
    depth = (torch.hypot(u, v) / fastest.clamp(min=LEAST)).clamp(max=1)
    turn = torch.atan2(v, u) / (2 * math.pi)
    offsets = torch.tensor([0.0, 1 / 3, 2 / 3]).view(1, 3, 1, 1)
    pure = 0.5 + 0.5 * torch.cos(2 * math.pi * (turn.unsqueeze(1) - offsets))
    return 1 - depth.unsqueeze(1) * (1 - pure)


def spectrogram(wave: Tensor) -> Tensor:
    """Draw a waveform (1, L) as a picture of its frequencies over time, low pitch at the bottom: (3, BINS, 4 BINS)."""
    wave = wave.detach().float().cpu().flatten()
    size = 512 if len(wave) >= 1024 else 64
    wave = functional.pad(wave, (0, max(0, size - len(wave))))
    power = torch.stft(wave, size, size // 4, window=torch.hann_window(size), center=False, return_complex=True).abs()
    rows = functional.adaptive_avg_pool2d(power[None, None], (BINS, min(power.shape[1], ASPECT * BINS)))
    rows = functional.interpolate(rows, (BINS, ASPECT * BINS))[0, 0].flip(0)
    level = (rows + 1e-6).log()
    loud = ((level - level.max()) / RANGE + 1).clamp(0, 1)
    black, red, yellow = (torch.tensor(colour).view(3, 1, 1) for colour in (_BLACK, _RED, _YELLOW))
    return torch.where(loud < 0.5, black.lerp(red, 2 * loud), red.lerp(yellow, 2 * loud - 1)).clamp(0, 1)


def bars(heights: Tensor) -> Tensor:
    """Draw rows of heights (R, K) in [0, 1] as dark bars on pale grey: (R, 3, TALL, K * BAR)."""
    level = torch.arange(TALL, 0, -1).view(TALL, 1) / TALL  # of each pixel row's upper edge, so that 0 draws nothing
    filled = heights.repeat_interleave(BAR, 1).unsqueeze(1) >= level - 0.5 / TALL
    filled = filled & (torch.arange(filled.shape[-1]) % BAR < BAR - 1)  # a pale line between bars
    return 0.92 - 0.72 * filled.float().unsqueeze(1).expand(-1, 3, -1, -1)


def stripes(target: Tensor, guess: Tensor) -> Tensor:
    """Draw the largest numbers of a target (D,) as grey columns above those of a guess: (3, h, w); mid-grey is 0."""
    most = target.abs().topk(min(SHOWN, len(target))).indices.sort().values
    greys = (0.5 + 0.2 * torch.stack((target, guess))[:, most]).clamp(0, 1)
    large = greys.repeat_interleave(HEIGHT // 2, 0).repeat_interleave(WIDTH // len(most), 1)
    return large.expand(3, -1, -1)


def full_contrast(differences: Tensor) -> Tensor:
    """Stretch differences, whose 0 is mid-grey, to all of [0, 1], or nobody could see them."""
    signed = differences.float() - 0.5
    return 0.5 + 0.5 * signed / signed.abs().max().clamp(min=1e-6)


def heated(picture: Tensor, where: Tensor) -> Tensor:
    """Lay heat (H, W) from 0 to 1 over a picture (3, H, W) in [0, 1], which turns dark and grey: red, then yellow."""
    where, picture = where.to(picture.device).clamp(0, 1), picture.float()
    heat = torch.stack((torch.ones_like(where), where.square(), torch.zeros_like(where)))
    return torch.lerp(0.35 * picture + 0.35 * picture.mean(0, keepdim=True), heat, 0.65 * where)


def mosaic(pictures: Tensor) -> Tensor:
    """Set pictures (M, 3, H, W) side by side in rows as square as can be, a pixel of white between them."""
    if len(pictures) == 1:
        return pictures[0]
    across = math.ceil(math.sqrt(len(pictures)))
    empty = pictures.new_ones(-len(pictures) % across, *pictures.shape[1:])
    framed = functional.pad(torch.cat((pictures, empty)), (0, 1, 0, 1), value=1.0)
    lines = framed.view(-1, across, *framed.shape[1:])  # (down, across, 3, H + 1, W + 1)
    return lines.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[:, :-1, :-1]
