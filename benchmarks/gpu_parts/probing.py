"""`pretext probe` of 60,000 images, all stages of a ResNet-18, beside lightly's classifier where it is installed."""

from __future__ import annotations

import importlib.util
import json
import time
from functools import partial
from shutil import rmtree
from typing import Any

import pytorch_lightning as pl
import torch
from probe_speed import BATCH, EPOCHS, Augmented, Pooled

import pretext
from datamodules import CIFAR10, Splitting
from gpu_parts.schedule import Answer, Clock, Part, Question
from gpu_parts.setting import Setting
from pretext.__main__ import main

MEASURED = 3  # epochs of lightly's; the time of the others is extrapolated
ELSEWHERE = "321 s for 90 epochs of 10,000 images on 2 cores, extrapolated (benchmarks/README.md)"


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [
        Question("pretext probe", partial(ours, setting), setting.size(20.0, 1.0)),
        Question("lightly", partial(lightly, setting), setting.size(20.0, 1.0)),
    ]
    return Part("probe", "probing 50,000 + 10,000 images", 0.08, lambda: asked, table)


def ours(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Probe a ResNet-18 at random initialisation, and the pixels; nothing is in a cache before."""
    out = setting.out / "runs" / "probe"
    rmtree(out, ignore_errors=True)
    data = ["--data", "datamodules.CIFAR10", "--data.root", str(setting.cifar), "--data.batch_size", str(BATCH)]
    data += setting.size([], ["--data.split.limit", "200"])  # every class has to be in it
    begin = time.perf_counter()
    with setting.quiet("probe"):
        net = ["--backbone", "torchvision:resnet18", "--protocols", "linear"]
        if main(["probe", *net, *data, "--out", str(out)]):
            raise RuntimeError(f"pretext probe failed; see {setting.out / 'logs' / 'probe.txt'}")
    seconds = time.perf_counter() - begin
    found = json.loads((out / "probe.json").read_text())
    scores = {f"{row['features']} {row['stage']}": row["linear"]["accuracy"] for row in found["rows"]}
    return {
        "whole_s": seconds,
        "probe_s": found["seconds"],
        "items": [found["data"]["train"], found["data"]["test"]],
        "scores": scores,
    }


def lightly(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train lightly's classifier on the pooled last stage for a few epochs, on images that are decoded already."""
    if importlib.util.find_spec("lightly") is None:
        return {"not run": "lightly is not installed", "elsewhere": ELSEWHERE}
    from lightly.utils.benchmarking import LinearClassifier  # type: ignore[import-not-found]  # an extra

    data = CIFAR10(setting.cifar, batch_size=BATCH, split=Splitting(limit=setting.size(None, 16)))
    batches = list(data.ordered("train"))
    images, labels = (torch.cat([batch[key] for batch in batches]).to(setting.device) for key in ("x", "y"))
    net = Pooled(pretext.TorchVision("resnet18"))
    model = LinearClassifier(net, BATCH, feature_dim=512, num_classes=len(data.classes), topk=(1,))
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    epochs = setting.size(MEASURED, 1)
    trainer = pl.Trainer(max_epochs=epochs, **quiet, **setting.trainer())
    begin = time.perf_counter()
    with setting.quiet("lightly"):
        trainer.fit(model, torch.utils.data.DataLoader(Augmented(images, labels), batch_size=None))
    seconds = time.perf_counter() - begin
    return {"epochs": epochs, "epochs_s": seconds, "ninety_s": seconds * EPOCHS / epochs}


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the times."""
    lines = ["| what | seconds | |", "|---|---|---|"]
    if "whole_s" in (answer := answers.get("pretext probe", {})):
        best = max(answer["scores"], key=lambda name: answer["scores"][name])
        train, test = answer["items"]
        said = f"{train:,} + {test:,} images; best: {best}, {100 * answer['scores'][best]:.2f} %"
        lines.append(
            f"| `pretext probe`, five stages and pixels, decoding included | {answer['whole_s']:.1f} | {said} |"
        )
    if "ninety_s" in (answer := answers.get("lightly", {})):
        said = f"{answer['epochs']} epochs measured ({answer['epochs_s']:.1f} s), the time of 90 extrapolated"
        lines.append(f"| lightly's LinearClassifier, last stage | {answer['ninety_s']:.1f} | {said} |")
    elif "elsewhere" in answer:
        lines.append(f"| lightly's LinearClassifier | not run | elsewhere: {answer['elsewhere']} |")
    return lines
