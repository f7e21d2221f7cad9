"""SimCLR on CIFAR-10 for 100 epochs, a second anchor: asked only by name, over as many starts as it takes.

ResNet-18 with a 3 x 3 stem without pooling; batches of 512, SGD with momentum 0.9, rate 0.12, weight decay 5e-4, cosine
without warm-up; crops of 0.2 to 1, flip, jitter 0.4 0.4 0.4 0.1 with probability 0.8, grey 0.1, no blur; temperature
0.5; a head of 512, 1024, 128 without batch norm (https://github.com/dkobak/simclr-cifar10: kNN 83.2, linear 85.6).
"""

from __future__ import annotations

import json
from functools import partial
from shutil import rmtree
from typing import Any

from schedule import Answer, Clock, Part, Question

from gpu_parts.long_run import advance
from gpu_parts.setting import Setting

Config = dict[str, Any]
EPOCHS, BATCH = 100, 512
VIEWS = {"scale": [0.2, 1.0], "aspect": [0.75, 1.3333], "jitter": 0.8, "grey": 0.1}
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [
        Question("train", partial(train, setting), setting.size(60.0, 1.0)),
        Question("probe", partial(probe, setting), setting.size(30.0, 1.0)),
    ]
    return Part("simclr", "SimCLR, 100 epochs", 2.0, lambda: asked, table, ordered=True, on_demand=True)


def config(setting: Setting) -> Config:
    """Make the config."""
    net: Config = {"name": "resnet18", "stem": "small"}
    net |= setting.size({}, {"width": 0.125, "stem_stride": 2})
    views = {"class_path": "pretext.Augment", "init_args": {**VIEWS, **COLOURS}}
    head = {"views": views, "temperature": 0.5, "width": 1024, "outputs": 128}
    optimizer = {"lr": 0.06 * BATCH / 256, "momentum": 0.9, "weight_decay": 5e-4}
    split = {"val": 0.0, "limit": setting.size(None, 16)}
    data = {"root": str(setting.cifar), "batch_size": setting.size(BATCH, 8), "split": split}
    return {
        "model": {
            "backbone": {"class_path": "pretext.TorchVision", "init_args": net},
            "tasks": {"contrast": {"class_path": "pretext.Contrast", "init_args": head}},
            "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": optimizer}, "warmup": 0.0},
            "execution": {"channels_last": True},
        },
        "data": {"class_path": "datamodules.CIFAR10", "init_args": data},
        "trainer": {"max_epochs": setting.size(EPOCHS, 1), "enable_progress_bar": True, "precision": "bf16-mixed"},
        "checkpoint": {"every_n_steps": 50_000 // BATCH},
    }


def train(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train, or go on."""
    return advance(setting, "simclr", config(setting), clock)


def probe(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Probe the last stage as `pretext probe` does: linear by logistic regression, k chosen on validation items."""
    from pretext.__main__ import main  # it imports what the verb needs

    run = setting.out / "runs" / "simclr"
    rmtree(run / "features", ignore_errors=True)
    with setting.quiet("simclr-probe"):
        if main(["probe", str(run), "--protocols", "linear", "knn"]):
            raise RuntimeError(f"pretext probe failed; see {setting.out / 'logs' / 'simclr-probe.txt'}")
    rows = json.loads((run / "probe.json").read_text())["rows"]
    last = [row for row in rows if row["features"] == "trained"][-1]
    return {"stage": last["stage"], **{key: last[key]["accuracy"] for key in ("linear", "knn")}}


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the scores."""
    lines = ["| | linear, last stage | kNN |", "|---|---|---|"]
    if "linear" in (answer := answers.get("probe", {})):
        lines.append(f"| ours | {100 * answer['linear']:.2f} | {100 * answer['knn']:.2f} |")
    return [*lines, "| dkobak/simclr-cifar10 | 85.6 ± 0.2 | 83.2 ± 0.2 |"]
