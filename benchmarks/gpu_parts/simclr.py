"""SimCLR on CIFAR-10 for 100 epochs, a second anchor: asked only by name, over as many starts as it takes.

`configs/published/simclr_cifar10.yaml` (https://github.com/dkobak/simclr-cifar10: kNN 83.2, linear 85.6) in bfloat16,
and the read-outs of `pretext reproduce simclr`.
"""

from __future__ import annotations

from functools import partial
from shutil import rmtree
from typing import Any

from schedule import Answer, Clock, Part, Question

from gpu_parts.long_run import advance
from gpu_parts.published import published
from gpu_parts.setting import Setting
from pretext.benchmark.published.simclr import SIMCLR
from pretext.benchmark.reproduce import read_out

SMALL = {"model": {"backbone": {"init_args": {"width": 0.125, "stem_stride": 2}}}}
READ_OUTS = ("knn", "linear")
"""Short names of the publication's."""


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [
        Question("train", partial(train, setting), setting.size(60.0, 1.0)),
        Question("probe", partial(probe, setting), setting.size(60.0, 1.0)),
    ]
    return Part("simclr", "SimCLR, 100 epochs", 2.0, lambda: asked, table, ordered=True, on_demand=True)


def config(setting: Setting) -> dict[str, Any]:
    """Make the config."""
    return published(setting, SIMCLR.config, setting.size(SIMCLR.epochs, 1), 8, SMALL)


def train(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train, or go on."""
    return advance(setting, "simclr", config(setting), clock)


def probe(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Read the last stage out as `pretext reproduce simclr` does."""
    run = setting.out / "runs" / "simclr"
    rmtree(run / "features", ignore_errors=True)
    with setting.quiet("simclr-probe"):
        rows = read_out(SIMCLR, run)
    return {name: row.ours for name, row in zip(READ_OUTS, rows, strict=True)}


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the scores."""
    lines = ["| layer4, % | kNN, k = 10 | linear, Adam |", "|---|---|---|"]
    if "linear" in (answer := answers.get("probe", {})):
        lines.append(f"| ours | {' | '.join(f'{answer[name]:.2f}' for name in READ_OUTS)} |")
    theirs = " | ".join(f"{readout.published} ± 0.2" for readout in SIMCLR.readouts)
    return [*lines, f"| dkobak/simclr-cifar10 | {theirs} |"]
