"""Colour conversion against kornia's: milliseconds per batch, agreement, and the way back.

Both in one process, in turn, on the same tensors; the ratio is kornia's median over ours. Target: at least 3.

    pip install kornia
    python benchmarks/colour.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pretext.ops.lab import lab_to_rgb, rgb_to_lab

SHAPES = [(128, 3, 32, 32), (128, 3, 96, 96), (32, 3, 224, 224)]
Convert = Callable[[Tensor], Tensor]


def forward(function: Convert, x: Tensor) -> None:
    """Convert a batch, as a task's pose does."""
    with torch.no_grad():
        function(x)


def and_back(function: Convert, x: Tensor) -> None:
    """Convert a batch that carries a gradient, and send one back."""
    x = x.detach().requires_grad_()
    function(x).sum().backward()


def measure(ways: list[Callable[[], None]], repeats: int) -> list[list[float]]:
    """Time each way in turn, in milliseconds; the first round is thrown away."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats + 1):
        for kept, way in zip(times, ways, strict=True):
            start = time.perf_counter()
            way()
            kept.append(1e3 * (time.perf_counter() - start))
    return [kept[1:] for kept in times]


def main() -> None:
    """Print one Markdown row per conversion and shape, then how far apart the two are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=41)
    own = parser.parse_args()
    try:
        from kornia.color import lab_to_rgb as their_rgb
        from kornia.color import rgb_to_lab as their_lab
    except ImportError:
        raise SystemExit("this compares with kornia, which is not installed: pip install kornia") from None
    print("| conversion | batch | kornia, ms | ours, ms | ratio of medians |", "|---|---|---|---|---|", sep="\n")
    for shape in SHAPES:
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        for name, ours, theirs, given in (
            ("rgb to lab", rgb_to_lab, their_lab, x),
            ("lab to rgb", lab_to_rgb, their_rgb, their_lab(x)),
        ):
            for kind, run in (("", forward), (" and gradient", and_back)):
                slow, fast = measure([lambda: run(theirs, given), lambda: run(ours, given)], own.repeats)  # noqa: B023  (called at once)
                a, b = statistics.median(slow), statistics.median(fast)
                size = " x ".join(map(str, shape))
                print(f"| {name}{kind} | {size} | {a:.2f} | {b:.2f} | {a / b:.2f} |", flush=True)
    x = torch.rand(SHAPES[1], generator=torch.Generator().manual_seed(1))
    lab = their_lab(x)
    apart = float((rgb_to_lab(x) - lab).abs().max()), float((lab_to_rgb(lab) - their_rgb(lab)).abs().max())
    back = float((lab_to_rgb(rgb_to_lab(x)) - x).abs().max()) * 255
    print(f"\nlargest difference from kornia: {apart[0]:.1e} in Lab, {apart[1]:.1e} in RGB; ", end="")
    print(f"largest error of there and back: {back:.4f} of a grey level (1/255)")


if __name__ == "__main__":
    main()
