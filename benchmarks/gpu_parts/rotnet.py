"""RotNet's training on CIFAR-10, scaled to the time there is, judged as its authors judge it.

https://arxiv.org/abs/1803.07728. All 50,000 images; crop and flip, then four turns of each; SGD with Nesterov's
momentum 0.9, weight decay 5e-4, rates 0.1, 0.02, 0.004, 0.0008 to epochs 60, 120, 160, 200 of 200. On the frozen
network, with crop and flip: an MLP on each block (50 epochs, the rate falls at 20, 40, 45), and a block of convolutions
(100 epochs, at 35, 70, 85). Where the time is short all epochs are scaled by one factor, which is decided once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from schedule import UNFINISHED, Answer, Clock, Part, Question

from gpu_parts.long_run import GRACE, advance, pace
from gpu_parts.setting import Setting

Config = dict[str, Any]
EPOCHS, FALLS = 200, (60, 120, 160)
JUDGES = {"mlp": (50, (20, 40, 45)), "conv": (100, (35, 70, 85))}
PAPER = {"mlp": (85.07, 89.06, 86.21, 61.73)}
IMAGES, BATCH = 50_000, 128
RATE = 0.1
TRAINING = 2 / 3  # of the time; the judges have the rest


def part(setting: Setting) -> Part:
    """Make the part."""
    judges = [Question(f"judge {kind}", partial(judge, setting, kind), setting.size(60.0, 1.0)) for kind in JUDGES]
    asked = [
        Question("plan", partial(plan, setting), setting.size(40.0, 1.0)),
        Question("train", partial(train, setting), setting.size(30.0, 1.0)),
        Question("rotation accuracy", partial(accuracy, setting), setting.size(15.0, 1.0)),
        *judges,
    ]
    return Part("rotnet", "RotNet's schedule scaled to the time", 0.34, lambda: asked, table, ordered=True)


def sgd(setting: Setting, epochs: int, falls: Sequence[float], data: Config, **model: Any) -> Config:
    """Make a config that trains as RotNet's code does, whatever it trains; the rate falls at shares of all epochs."""
    optimizer = {"lr": RATE, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    options = {
        "augment": {"class_path": "pretext.Augment", "init_args": {"crop": 32, "pad": 4, "border": "zero"}},
        "optim": {
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": optimizer},
            "schedule": "steps",
            "warmup": 0.0,
            "milestones": list(falls),
            "factor": 0.2,
        },
        "execution": {"channels_last": True},
    }
    inside = {**options, **model.pop("init_args", {})}
    whole = {**model, "init_args": inside} if "class_path" in model else {**model, **inside}
    root = {"root": str(setting.cifar), "batch_size": setting.size(BATCH, 4)}
    return {
        "model": whole,
        "data": {"class_path": "datamodules.CIFAR10", "init_args": {**root, **data}},
        "trainer": {"max_epochs": epochs, "enable_progress_bar": True, "precision": "bf16-mixed"},
        "checkpoint": {"every_n_steps": IMAGES // BATCH},
    }


def shares(falls: Sequence[int], of: int) -> list[float]:
    """Turn the epochs in which a rate falls into shares of all epochs."""
    return [epoch / of for epoch in falls]


def rotation(setting: Setting, epochs: int) -> Config:
    """Make the config of the pretext training; the split of the dry run is small."""
    split = {"val": 0.0, "limit": setting.size(None, 16)}
    tasks = {"rotation": {"class_path": "pretext.Rotation"}}
    backbone = {"class_path": "pretext.NIN", "init_args": {"blocks": 4, "width": setting.size(1.0, 0.1)}}
    return sgd(setting, epochs, shares(FALLS, EPOCHS), {"split": split}, backbone=backbone, tasks=tasks)


def plan(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Measure a step, and decide the number of epochs for all starts."""
    seconds = pace(setting, "rotnet", rotation(setting, 1), setting.size(BATCH, 4))
    each = seconds * (IMAGES // BATCH)
    time_left = clock.left() + 0.85 * setting.seconds * (setting.starts - 1)
    epochs = setting.size(max(5, min(EPOCHS, int((TRAINING * time_left - 2 * GRACE) / each))), 2)
    return {"epochs": epochs, "of": EPOCHS, "step_ms": 1e3 * seconds, "epoch_s": each, "starts": setting.starts}


def train(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train, or go on."""
    epochs = kept(setting, "plan")["epochs"]
    return {"epochs": epochs, **advance(setting, "rotnet", rotation(setting, epochs), clock)}


def accuracy(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Score the pretext task itself on the 10,000 test images."""
    words = ["test", str(setting.out / "runs" / "rotnet"), "--trainer.logger", "false"]
    cli = setting.verb("rotnet-test", *words)
    return {"accuracy": float(cli.trainer.callback_metrics["test/rotation/accuracy"])}


def judge(setting: Setting, kind: str, clock: Clock, before: Answer) -> Answer:
    """Train classifiers on all four blocks at once, in at most as many epochs as the authors, and test them."""
    whole, _ = JUDGES[kind]
    name = f"rotnet-{kind}"
    if "epochs" not in before:
        seconds = pace(setting, name, judging(setting, kind, 1), setting.size(BATCH, 4))
        share = 0.5 if kind == "mlp" else 1.0  # the convolutions come last
        room = int((share * clock.left() - 2 * GRACE) / (seconds * IMAGES / BATCH))
        before = {"epochs": setting.size(max(3, min(whole, room)), 1), "of": whole, "step_ms": 1e3 * seconds}
    epochs = int(before["epochs"])
    answer = {**before, **advance(setting, name, judging(setting, kind, epochs), clock)}
    if UNFINISHED in answer:
        return answer
    run = setting.out / "runs" / name
    setting.verb(f"{name}-test", "test", str(run), "--trainer.logger", "false")
    rows = json.loads((run / "score.json").read_text())["rows"]
    return {**answer, "blocks": {row["stage"]: [row["dims"], row["accuracy"], row["low"], row["high"]] for row in rows}}


def judging(setting: Setting, kind: str, epochs: int) -> Config:
    """Make the config of a judge: it trains on all images and reads the whole map; the last epoch counts."""
    whole, falls = JUDGES[kind]
    options = {"run": str(setting.out / "runs" / "rotnet"), "head": kind, "choose": False}
    options |= {"dims": "whole"} if kind == "mlp" else {}
    split = {"split": {"val": 0.0, "limit": setting.size(None, 16)}}
    return sgd(setting, epochs, shares(falls, whole), split, class_path="pretext.LinearProbe", init_args=options)


def kept(setting: Setting, question: str) -> Answer:
    """Look an earlier answer up."""
    content = json.loads((setting.out / "gpu.json").read_text())
    answer: Answer = content["parts"]["rotnet"]["answers"][question]
    return answer


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out what the judges say."""
    lines = []
    trained, scored = answers.get("train", {}), answers.get("rotation accuracy", {})
    if "epochs" in trained:
        state = f"stopped at step {trained['step']}" if UNFINISHED in trained else "finished"
        planned = answers["plan"]
        said = f"{trained['epochs']} of {planned['of']} epochs, {state}"
        right = f"; rotation accuracy {100 * scored['accuracy']:.2f} % of test images" if "accuracy" in scored else ""
        lines += [f"{said}; {planned['step_ms']:.2f} ms a step{right}.", ""]
    lines += ["| judge | epochs | block 1 | block 2 | block 3 | block 4 |", "|---|---|---|---|---|---|"]
    for kind in JUDGES:
        if "blocks" in (answer := answers.get(f"judge {kind}", {})):
            cells = [f"{100 * value[1]:.2f} ({value[0]:,} values)" for value in answer["blocks"].values()]
            lines.append(f"| {kind} | {answer['epochs']} of {answer['of']} | {' | '.join(cells)} |")
        if kind in PAPER:
            lines.append(f"| {kind}, the paper | 50 | {' | '.join(f'{value:.2f}' for value in PAPER[kind])} |")
    return lines
