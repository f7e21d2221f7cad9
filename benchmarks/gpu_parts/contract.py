"""The contract of every task on the device, and the tests that are marked `cuda`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from provenance import REPOSITORY
from schedule import Answer, Clock, Part, Question
from torch import Tensor
from torch.nn import functional

import pretext
from gpu_parts.setting import Setting
from pretext import testing
from pretext.core.rng import rng
from pretext.core.types import Backbone, TaskFactory, Tree

BOTH: tuple[testing.Content, ...] = ("noise", "constant")
WINDOW = 13  # frames
RATE = 16_000  # samples of sound per second


class Case(NamedTuple):
    """A task, a small backbone for it, and what it is posed from."""

    factory: TaskFactory
    backbone: Callable[[], Backbone]
    x: Callable[[], Tree]
    kinds: tuple[testing.Content, ...] = BOTH
    """What must teach nothing; the tests of each task say why some is left out."""
    random: bool = True


def images(side: int = 32) -> Tensor:
    """Smooth pictures with some grain, (8, 3, side, side)."""
    chance = rng("cpu", "gpu", "images")
    smooth = functional.interpolate(torch.rand(8, 3, 6, 6, generator=chance), (side, side), mode="bicubic")
    return (0.9 * smooth + 0.1 * torch.rand(8, 3, side, side, generator=chance)).clamp(0, 1)


def clips() -> Tensor:
    """Pictures that drift a pixel per frame, (8, 3, WINDOW, 32, 32)."""
    wide = images(64)
    return torch.stack([wide[..., 8:40, i : i + 32] for i in range(WINDOW)], 2)


def modalities() -> dict[str, Tensor]:
    """Clips of three kinds with their sound, which is as loud as they are bright."""
    rgb = clips()
    level = rgb.mean((1, 3, 4)).repeat_interleave(RATE // WINDOW, 1)
    tone = torch.sin(0.3 * torch.arange(level.shape[1]))
    grey = rgb.mean(1, keepdim=True)
    return {"rgb": rgb, "grey": grey, "flow": rgb[:, :2].flip(-1), "audio": (level * tone).unsqueeze(1)}


def image_net() -> Backbone:
    """Two blocks of RotNet's network."""
    return pretext.NIN(blocks=2, width=0.1)


def half_net() -> Backbone:
    """A `Split` of two of them."""
    return pretext.Split(partial(pretext.NIN, blocks=2, width=0.1))


def video_net(channels: int = 3) -> Backbone:
    """A narrow R(2+1)D network."""
    return pretext.R2Plus1D(layers=(1, 1, 1, 1), bottleneck=False, width=0.125, stem="small", channels=channels)


def sound_net() -> Backbone:
    """A network of log-mel pictures."""
    return pretext.Sound(pretext.TorchVision("resnet18", stem="small", stem_stride=2, width=0.125), rate=RATE)


def several() -> Backbone:
    """A network for each modality."""
    nets = {"rgb": video_net(), "grey": video_net(1), "flow": video_net(2), "audio": sound_net()}
    return pretext.MultiModal(nets)


COLOUR = partial(pretext.OnFrames, task=pretext.Colorization)
ARROW = partial(pretext.ArrowOfTime, directions="one", frames=8)
CASES: dict[str, Case] = {
    "Rotation": Case(partial(pretext.Rotation, turns="one"), image_net, images),
    "Jigsaw": Case(partial(pretext.Jigsaw, permutations=20, width=32, hidden=64), image_net, images),
    "RelativePosition": Case(partial(pretext.RelativePosition, hidden=64), image_net, partial(images, 48)),
    "Inpainting": Case(partial(pretext.Inpainting, channels=16, width=16), image_net, images, ()),
    "Colorization": Case(pretext.Colorization, image_net, images, (), random=False),
    "SplitBrain": Case(partial(pretext.SplitBrain, stride=2), half_net, images, (), random=False),
    "Counting": Case(partial(pretext.Counting, length=20, hidden=32), image_net, images, ()),
    "SuperResolution": Case(partial(pretext.SuperResolution, width=16, blocks=1), image_net, images, ()),
    "Contrast": Case(pretext.Contrast, image_net, images, ()),
    "Autoencoding": Case(partial(pretext.Autoencoding, width=16), image_net, images, (), random=False),
    "Denoising": Case(partial(pretext.Denoising, width=16), image_net, images, ()),
    "VAE": Case(partial(pretext.VAE, latents=8, width=16), image_net, images, ()),
    "Edges": Case(partial(pretext.Edges, width=16), image_net, images, (), random=False),
    "Keypoints": Case(partial(pretext.Keypoints, width=16), image_net, images, (), random=False),
    "ArrowOfTime": Case(ARROW, video_net, clips),
    "ClipOrder": Case(partial(pretext.ClipOrder, pieces=3, frames=3, gap=2, width=16), video_net, clips),
    "FuturePrediction": Case(
        partial(pretext.FuturePrediction, frames=3, future=2, width=8), video_net, clips, ("noise",)
    ),
    "OddOneOut": Case(partial(pretext.OddOneOut, clips=4, frames=5, width=32), video_net, clips),
    "Reconstruction": Case(partial(pretext.Reconstruction, frames=3, width=8), video_net, clips, ()),
    "ShuffleAndLearn": Case(partial(pretext.ShuffleAndLearn, span=(4, 8)), video_net, clips),
    "OnFrames": Case(COLOUR, video_net, clips, ()),
    "On": Case(partial(pretext.On, modality="rgb", task=ARROW), several, modalities, ()),
    "Alignment": Case(partial(pretext.Alignment, frames=8), several, modalities),
    "Embed": Case(partial(pretext.Embed, frames=8), several, modalities),
    "CrossModalPrediction": Case(
        partial(pretext.CrossModalPrediction, source="rgb", target="grey", frames=3, width=8), several, modalities, ()
    ),
    "Distillation": Case(partial(pretext.Distillation, frames=8, teacher="grey"), several, modalities, ()),
}


def check(case: Case, device: str, kinds: tuple[testing.Content, ...] | None = None) -> None:
    """Check the whole contract on a device.

    Raises:
        AssertionError: what is broken.

    """
    with exact():
        torch.manual_seed(0)
        x = case.x()
        x = {name: part.to(device) for name, part in x.items()} if isinstance(x, dict) else x.to(device)
        shown = case.kinds if kinds is None else kinds
        testing.check_task(case.factory, case.backbone().to(device), x, random=case.random, kinds=shown)


@contextmanager
def exact() -> Iterator[None]:
    """Compute in float32 as it is, not rounded to TensorFloat-32, in which an item alone differs from a batch."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [Question(name, partial(kept, setting, case), 3.0) for name, case in CASES.items()]
    asked.append(Question("tests marked cuda", partial(marked, setting), 15.0))
    return Part("contract", "the contract of every task on the device", 0.1, lambda: asked, table)


def kept(setting: Setting, case: Case, clock: Clock, before: Answer) -> Answer:
    """Check one task; a dry run leaves out the trainings on what has no content."""
    check(case, setting.device, () if setting.dry else None)
    return {"kept": True}


def marked(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Run the tests that need the device, where pytest is installed; the contract is among them, and left out here.

    Raises:
        RuntimeError: a test failed.

    """
    if importlib.util.find_spec("pytest") is None:
        return {"not run": "pytest is not installed"}
    log = setting.out / "logs" / "pytest.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    options: list[Any] = ["-m", "cuda", "-p", "no:cacheprovider", "-rs", "-k", "not contract"]
    command = [sys.executable, "-m", "pytest", *options, str(REPOSITORY / "tests")]
    with log.open("w") as file:
        where: dict[str, Any] = {"cwd": REPOSITORY, "stdout": file, "stderr": subprocess.STDOUT}
        code = subprocess.run(command, check=False, timeout=max(clock.left(), 30.0), **where).returncode
    said = log.read_text().strip().splitlines()[-1]
    if code not in (0, 5):  # 5: there are none
        raise RuntimeError(f"{said}; see {log}")
    return {"tests": said}


def table(answers: dict[str, Answer]) -> list[str]:
    """Say which tasks keep the contract."""
    good = [name for name, answer in answers.items() if answer.get("kept")]
    bad = [f"- {name}: {answer['error']}" for name, answer in answers.items() if "error" in answer]
    tests = answers.get("tests marked cuda", {})
    said = tests.get("tests") or tests.get("not run") or "not asked"
    return [f"{len(good)} of {len(CASES)} tasks keep the contract; tests marked `cuda`: {said}.", *bad]
