"""RotNet's training on CIFAR-10, scaled to the time there is, judged as its authors judge it.

https://arxiv.org/abs/1803.07728. The configs of configs/published in bfloat16; where the time is short all epochs are
scaled by one factor, which is decided once, and with them the epochs in which the rate falls.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from schedule import UNFINISHED, Answer, Clock, Part, Question

from gpu_parts.long_run import GRACE, advance, pace
from gpu_parts.published import published
from gpu_parts.setting import Setting
from pretext.benchmark.published.rotnet import BLOCKS, ROTNET
from pretext.benchmark.reproduce import ITEMS

Config = dict[str, Any]
JUDGES = dict(zip(("mlp", "conv"), ROTNET.judges, strict=False))
"""Those of all labels."""
SMALL = {"model": {"backbone": {"init_args": {"width": 0.1}}}}
BATCH = 128
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


def rotation(setting: Setting, epochs: int) -> Config:
    """Make the config of the pretext training."""
    return published(setting, ROTNET.config, epochs, 4, SMALL)


def plan(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Measure a step, and decide the number of epochs for all starts."""
    seconds = pace(setting, "rotnet", rotation(setting, 1), setting.size(BATCH, 4))
    each = seconds * (ITEMS // BATCH)
    time_left = clock.left() + 0.85 * setting.seconds * (setting.starts - 1)
    epochs = setting.size(max(5, min(ROTNET.epochs, int((TRAINING * time_left - 2 * GRACE) / each))), 2)
    return {"epochs": epochs, "of": ROTNET.epochs, "step_ms": 1e3 * seconds, "epoch_s": each, "starts": setting.starts}


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
    whole = JUDGES[kind].epochs
    name = f"rotnet-{kind}"
    if "epochs" not in before:
        seconds = pace(setting, name, judging(setting, kind, 1), setting.size(BATCH, 4))
        share = 0.5 if kind == "mlp" else 1.0  # the convolutions come last
        room = int((share * clock.left() - 2 * GRACE) / (seconds * ITEMS / BATCH))
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
    """Make the config of a judge, which gets its network from the run."""
    run = {"run": str(setting.out / "runs" / "rotnet")}
    return published(setting, JUDGES[kind].config, epochs, 4, {}, run)


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
        theirs = [f"{value:.2f}" if (value := JUDGES[kind].published.get(block)) else "-" for block in BLOCKS]
        lines.append(f"| {kind}, the paper | {JUDGES[kind].epochs} | {' | '.join(theirs)} |")
    return lines
