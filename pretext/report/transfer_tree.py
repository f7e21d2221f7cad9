"""Sources that behave alike, as a tree that lies on its side: joined the further right, the less alike."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pretext.report.plot import LETTER, LINE, Axis, group, svg, tag, text
from pretext.transfer.results import Merge

WIDTH = 520
ROW = 1.5 * LINE


def tree(merges: Sequence[Merge]) -> Markup | None:
    """Draw merges, the nearest first; None where there are none."""
    if not merges:
        return None
    leaves = merges[-1].left + merges[-1].right
    start = 10 + LETTER * max(map(len, leaves))
    x = Axis(0.0, merges[-1].distance or 1.0, start, WIDTH - 10)
    places: dict[tuple[str, ...], tuple[float, float]] = {
        (leaf,): (x.start, ROW * (k + 0.7)) for k, leaf in enumerate(leaves)
    }
    parts = [text(x.start - 6, ROW * (k + 0.7) + 4, leaf, "end", "words") for k, leaf in enumerate(leaves)]
    lines = []
    for merge in merges:
        (x0, y0), (x1, y1), at = places[merge.left], places[merge.right], x.at(merge.distance)
        hover = f"{', '.join(merge.left)} and {', '.join(merge.right)}: {merge.distance:.2f}"
        lines.append(tag("path", hover=hover, kind="line", d=f"M{x0:.1f} {y0:.1f}H{at:.1f}V{y1:.1f}H{x1:.1f}"))
        places[merge.left + merge.right] = (at, (y0 + y1) / 2)
    height = ROW * len(leaves) + 2 * LINE
    ticks = [text(x.at(tick), height - 4, x.write(tick), "middle") for tick in x.ticks(4)]
    return svg("Tree of similar sources", WIDTH, height, *parts, group("trained", *lines), *ticks)
