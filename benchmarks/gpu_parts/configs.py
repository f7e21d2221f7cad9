"""One step of every shipped config on the device, on data that is made here; tests of the configs take it too."""

from __future__ import annotations

import wave
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from PIL import Image
from schedule import Answer, Clock, Part, Question

from gpu_parts.photos import make_small, picture
from gpu_parts.setting import REPOSITORY, Setting
from pretext.training.run import read

CONFIGS = REPOSITORY / "configs"
VIDEOS = ["--data.videos.train_videos", "16", "--data.videos.test_videos", "8"]


def part(setting: Setting) -> Part:
    """Make the part."""
    files = [
        file for file in sorted(CONFIGS.rglob("*.yaml")) if file.parent.name not in ("data", "transfer")
    ]  # data alone trains nothing, and a suite is no config of training
    asked = [Question(str(file.relative_to(CONFIGS)), partial(step, setting, file), 3.0) for file in files]
    return Part("configs", "one step of every shipped config", 0.16, lambda: asked, table)


def step(setting: Setting, file: Path, clock: Clock, before: Answer) -> Answer:
    """Train one step, as the config has it but for the data; on optical flow only where OpenCV is."""
    if "flow" in read(file)["data"].get("init_args", {}).get("modalities", ()) and (answer := without_flow()):
        return answer
    name = str(file.relative_to(CONFIGS).with_suffix(""))
    run = setting.out / "runs" / "configs" / name
    rmtree(run, ignore_errors=True)
    short = {"max_steps": 1, "limit_val_batches": 1, "log_every_n_steps": 1, **setting.trainer()}
    limits = [word for key, value in short.items() for word in (f"--trainer.{key}", str(value))]
    words = ["-c", str(file), *limits, *options(setting, file), "--trainer.default_root_dir", str(run)]
    cli = setting.verb(f"configs/{name}", "fit", *words)
    loss = float(cli.trainer.callback_metrics["train/loss"])
    if loss != loss:
        raise ValueError("the loss is not a number")
    rmtree(run)  # forty checkpoints take gigabytes
    return {"loss": loss, "on": str(cli.trainer.strategy.root_device)}


def options(setting: Setting, file: Path) -> list[str]:
    """Name data that is made here, in the place of what the config reads."""
    content = read(file)
    model = content["model"]
    evaluates = "class_path" in model and "backbone" not in model.get("init_args", {})
    few = ["--data.batch_size", "4", *(["--model.run", str(trained(setting))] if evaluates else [])]
    small = [*few, "--data.split.val", "0.25"]
    name = content["data"]["class_path"].removeprefix("datamodules.")
    if name == "Pairs":
        return [*small, *domains(setting, content["data"]["init_args"])]
    if name == "Bouncing":
        return [*small, "--data.root", str(setting.out / "videos"), *VIDEOS, *disk(setting)]
    if name == "Clips":
        return [*small, "--data.root", str(videos(setting.out / "videos")), *disk(setting)]
    if name in MADE:
        return [*small, "--data.root", str(MADE[name](setting.out))]
    return few


def without_flow() -> Answer | None:
    """Answer in the place of what needs optical flow where OpenCV, an extra, is not installed; None where it is."""
    from datamodules.videos import flow  # it opens the libraries of videos

    try:
        flow.check()
    except ImportError:
        return {"not run": "OpenCV is not installed, which optical flow needs: pip install opencv-python-headless"}
    return None


def domains(setting: Setting, given: dict[str, Any]) -> list[str]:
    """Name the same data as both domains: of masks where the config has those, or of classes."""
    masks = isinstance(given["source"], dict)
    side, root = (".root", MADE["Pets"]) if masks else ("", MADE["ImageFolder"])
    made = str(root(setting.out))
    return [f"--data.source{side}", made, f"--data.target{side}", made]


def disk(setting: Setting) -> list[str]:
    """Let decoded clips be kept with the results."""
    return ["--data.disk.cache", str(setting.out / "caches" / "clips")]


@cache
def trained(setting: Setting) -> Path:
    """Train a network for a step, for configs that evaluate one."""
    run = setting.out / "runs" / "configs" / "evaluated"
    if not (run / "checkpoints" / "last.ckpt").exists():
        rmtree(run, ignore_errors=True)
        rotation = CONFIGS / "image" / "rotation.yaml"
        short = {"max_steps": 1, "limit_val_batches": 0, "log_every_n_steps": 1, **setting.trainer()}
        limits = [word for key, value in short.items() for word in (f"--trainer.{key}", str(value))]
        narrow = ["--model.backbone.init_args.width", "0.25", "--trainer.default_root_dir", str(run)]
        setting.verb("configs/evaluated", "fit", "-c", str(rotation), *limits, *narrow, *options(setting, rotation))
    return run


def videos(root: Path) -> Path:
    """Make small videos with sound, in class folders."""
    from datamodules import Bouncing  # it opens the libraries of videos
    from datamodules.generated.bouncing import Videos

    data = Bouncing(root, Videos(train_videos=16, test_videos=8))
    data.prepare_data()
    return data.folder


def sounds(root: Path) -> Path:
    """Write two and a half seconds of noise in each of a few WAV files of two classes."""
    rng = np.random.default_rng(0)
    for name in ("rain", "wind"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            with wave.open(str(root / name / f"{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes(rng.integers(-3000, 3000, 40_000, dtype=np.int16).tobytes())
    return root


def pets(root: Path, count: int = 12) -> Path:
    """Write photos and masks as Oxford-IIIT Pet lays them out."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for number in range(count):
        name = f"Cat_{number}"
        Image.fromarray(picture(number, (64, 48), "round")).save(root / "images" / f"{name}.jpg")
        mask = np.full((48, 64), 2, np.uint8)
        mask[12:36, 16:48], mask[20:28, 24:40] = 3, 1
        Image.fromarray(mask).save(root / "annotations" / "trimaps" / f"{name}.png")
        lists["test" if number % 3 == 2 else "trainval"].append(f"{name} 1 1 1\n")
    for name, lines in lists.items():
        (root / "annotations" / f"{name}.txt").write_text("".join(lines))
    return root


def pairs(root: Path, count: int = 16) -> Path:
    """Write photos of one grey each, and how light each pixel is."""
    for folder in ("images", "targets"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (32, 32), (10 * number,) * 3).save(root / "images" / f"{number}.png")
        np.save(root / "targets" / f"{number}.npy", np.full((32, 32), 10.0 * number, np.float32))
    return root


def captions(root: Path) -> Path:
    """Write photos, and say something of each."""
    images = make_small(root, 24)
    files = sorted(path for path in (images / "train").rglob("*.*") if path.is_file())
    lines = [f"{file.relative_to(images)},a photo of a {file.parent.name}" for file in files]
    (images / "captions.csv").write_text("\n".join(["file,caption", *lines]))
    return images


MADE: dict[str, Callable[[Path], Path]] = {
    **dict.fromkeys(("ImageFolder", "Photos", "CIFAR10"), lambda out: make_small(out / "small", 24)),
    "Sounds": lambda out: sounds(out / "sounds"),
    "Pets": lambda out: pets(out / "pets"),
    "PairedFiles": lambda out: pairs(out / "pairs"),
    "Captions": lambda out: captions(out / "captions"),
}
"""What writes the data of a data module into a folder."""


def table(answers: dict[str, Answer]) -> list[str]:
    """Say which configs took a step."""
    good = [name for name, answer in answers.items() if "loss" in answer]
    bad = [f"- {name}: {answer['error']}" for name, answer in answers.items() if "error" in answer]
    out = [f"- {name}: not run: {answer['not run']}" for name, answer in answers.items() if "not run" in answer]
    return [f"{len(good)} of {len(answers)} shipped configs took a step.", *bad, *out]
