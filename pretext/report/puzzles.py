"""The picture of puzzles: what each task asks, what the right answer is, and what a trained head answers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from pretext.core.files import whole
from pretext.core.types import Panel
from pretext.training.puzzles import Rows

# All lengths are pixels of the PNG.
DPI = 150
EDGE = 192  # of the height of a panel: a multiple of 8, 16, 32, 48, 64 and 96, so their pixels stay square
GAP, GUTTER, MARGIN = 18, 36, 6  # between panels, between puzzles side by side, around everything
TITLE, LINE = 64, 22  # height of a section's title, of a line of a caption
WRAP = 20  # characters of a caption that fit below one panel
LETTER = 10  # width of one, about
ACROSS = 6  # panels side by side: puzzles of few panels share a line
WIDEST = 3  # places that a wide picture, such as a strip of frames, may take up
LIMIT = 30_000  # the longest side; Agg refuses 2**16

# Dark words on white, on a transparent ground: they read on light and on dark pages alike. Bluish green and red stay
# apart for colour-blind readers, and the tick or cross says the same without colour.
INK, PAPER, RIGHT, WRONG = "#1b1e23", "#ffffff", "#009e73", "#d6402b"
FONT = "DejaVu Sans"  # comes with matplotlib, so that tick and cross exist on every machine


def paint(drawings: Mapping[str, Rows], out: Path) -> None:
    """Paint the drawings of each task (by name) as one titled section of a PNG, a row of panels per puzzle.

    Small images are enlarged by a whole factor, pixel by pixel; large ones are smoothly reduced. A judged panel has a
    green frame and a tick, or a red frame and a cross.

    Raises:
        ValueError: there is nothing to paint.

    """
    if not any(row for rows in drawings.values() for row in rows):
        raise ValueError(f"paint: no panel in the drawings of {sorted(drawings)}; draw at least one puzzle")
    titles, placed = _layout(drawings)
    width = MARGIN + max(p.x + max(p.image.shape[2], EDGE, LETTER * _longest(p.caption)) for p in placed)
    height = MARGIN + max(p.bottom for p in placed)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI * min(1.0, LIMIT / max(width, height)))
    figure.patch.set_visible(False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for title, y in titles:
        axes.text(MARGIN, y, title, size=32 * 72 / DPI, va="top", **WORDS)
    for p in placed:
        _paint_panel(axes, p)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")  # data coordinates are pixels, from the upper left
    with whole(out) as draft:  # Agg rather than whichever backend the user has chosen; `savefig` heeds their settings
        FigureCanvasAgg(figure).print_png(draft, metadata={"Software": None})  # type: ignore[no-untyped-call]


class _Placed(NamedTuple):
    """A panel with its place, counted in pixels from the upper left."""

    panel: Panel
    image: Tensor
    caption: str
    x: int
    y: int
    bottom: int


def _paint_panel(axes: Axes, placed: _Placed) -> None:
    (_, h, w), x, y, right = placed.image.shape, placed.x, placed.y, placed.panel.right
    pixels = placed.image.permute(1, 2, 0).numpy()
    edge = 1e-3  # pixels: Matplotlib before 3.11 rounds a width of 192.0000001 up, and enlarges by no whole factor then
    extent = (x + edge, x + w - edge, y + h - edge, y + edge)
    axes.imshow(pixels, extent=extent, origin="upper", interpolation="nearest")
    for number, line in enumerate(placed.caption.splitlines(), start=1):
        axes.text(x, y + h + LINE * number, line, size=18 * 72 / DPI, **WORDS)
    if right is not None:
        colour = RIGHT if right else WRONG
        axes.add_patch(Rectangle((x - 2, y - 2), w + 4, h + 4, fill=False, edgecolor=colour, linewidth=4 * 72 / DPI))


WORDS: dict[str, Any] = {
    "color": INK,
    "family": FONT,
    "parse_math": False,
    "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 2 * 72 / DPI},
}


def _layout(drawings: Mapping[str, Rows]) -> tuple[list[tuple[str, int]], list[_Placed]]:
    """Place titles (text, y) and panels, section below section, line below line."""
    titles: list[tuple[str, int]] = []
    placed: list[_Placed] = []
    y = MARGIN
    for name, rows in drawings.items():
        titles.append((name + _score(rows), y))
        y += TITLE
        spans = _spans(rows)
        across = max(1, ACROSS // sum(spans))
        for start in range(0, len(rows), across):
            line = _line(rows[start : start + across], spans, y)
            placed += line
            y = GAP + max((p.bottom for p in line), default=y)
        y += GAP
    return titles, placed


def _spans(rows: Rows) -> list[int]:
    """Tell for each column of panels how many places it takes: one, or up to WIDEST where a picture is wide."""
    columns = max((len(row) for row in rows), default=1)
    wide = [[row[c].image.shape[2] / row[c].image.shape[1] for row in rows if c < len(row)] for c in range(columns)]
    return [min(WIDEST, max(1, round(max(ratios, default=1)))) for ratios in wide]


def _line(rows: Rows, spans: Sequence[int], y: int) -> list[_Placed]:
    """Place puzzles side by side, their images' upper edges at `y`."""
    placed = []
    for slot, row in enumerate(rows):
        for column, panel in enumerate(row):
            span = spans[column]
            image, caption = _resized(panel.image, span * (EDGE + GAP) - GAP), _caption(panel, WRAP * span)
            places = slot * sum(spans) + sum(spans[:column])
            x = MARGIN + places * (EDGE + GAP) + slot * GUTTER
            bottom = y + image.shape[1] + 9 + LINE * len(caption.splitlines())
            placed.append(_Placed(panel, image, caption, x, y, bottom))
    return placed


def _resized(image: Tensor, width: int) -> Tensor:
    """Bring (3, H, W) to about EDGE high or `width` wide: repeat each pixel a whole number of times, or interpolate."""
    image = image.detach().float().nan_to_num(0).clamp(0, 1).cpu()
    h, w = image.shape[1:]
    scale = min(EDGE / h, width / w)
    times = int(scale)
    if times >= 2:
        return image.repeat_interleave(times, 1).repeat_interleave(times, 2)
    size = [max(1, round(side * scale)) for side in (h, w)]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _caption(panel: Panel, width: int) -> str:
    """Mark right and wrong; break what is too long, first after a colon ("prediction: ...")."""
    text = {None: "", True: "✓ ", False: "✗ "}[panel.right] + panel.caption
    head, colon, tail = text.partition(": ")
    if not colon or len(text) <= width or len(head) >= width:
        return textwrap.fill(text, width, max_lines=3, placeholder=" …")
    return f"{head}:\n{textwrap.fill(tail, width, max_lines=2, placeholder=' …')}"


def _longest(caption: str) -> int:
    """Count the characters of the longest line."""
    return max(map(len, caption.splitlines()), default=0)


def _score(rows: Rows) -> str:
    judged = [panel.right for row in rows for panel in row if panel.right is not None]
    return f" · {sum(judged)} of {len(judged)} right" if judged else ""
