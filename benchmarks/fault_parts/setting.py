"""What all parts are given: where everything lies, how large it is, tiny data and the configs that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fault_parts.samples import FORMATS, picture

T = TypeVar("T")
Config = dict[str, Any]
CHECKPOINT = 2  # steps between checkpoints: many moments fall into the writing of one


@dataclass(frozen=True)
class Setting:
    """Where everything lies, and how large it is.

    Args:
        out: the folder of results, and of all that is made on the way.
        small: a small part of everything.
        seed: of the damage and of the moments.

    """

    out: Path
    small: bool
    seed: int

    def size(self, whole: T, small: T) -> T:
        """Choose a size."""
        return small if self.small else whole

    def write(self, name: str, config: Mapping[str, Any]) -> Path:
        """Write a config and return its file."""
        file = self.out / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        return file

    def pictures(self, count: int = 48, folder: str = "pictures") -> Path:
        """Make small pictures of two classes, JPEG and PNG in turn."""
        from PIL import Image

        root = self.out / folder
        if not (root / "done").exists():
            for k in range(count):
                name = root / ("train", "test")[k % 4 == 3] / "ab"[k % 2] / f"{k:03}{('.jpg', '.png')[k // 2 % 2]}"
                name.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(k, 48)).save(name)
            (root / "done").touch()
        return root

    def films(self, count: int = 12) -> Path:
        """Make small videos with sound, of two classes."""
        root = self.out / "films"
        if not (root / "done").exists():
            for k in range(count):
                name = root / ("train", "test")[k % 4 == 3] / "ab"[k % 2] / f"{k:03}.mp4"
                name.parent.mkdir(parents=True, exist_ok=True)
                name.write_bytes(FORMATS["MP4, H.264 and AAC"].make(k))
            (root / "done").touch()
        return root


def of_pictures(root: Path, cache: Path | None, epochs: int = 5) -> Config:
    """Write the config of a training on pictures."""
    return {
        "model": {
            "backbone": {"class_path": "fault_parts.nets.Pictures"},
            "tasks": {"turn": {"class_path": "pretext.Rotation"}},
            "augment": {"class_path": "pretext.Augment", "init_args": {"crop": 28, "pad": 1}},
            "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}}},
        },
        "data": {
            "class_path": "datamodules.ImageFolder",
            "init_args": {"root": str(root), "canvas": 32, "batch_size": 6, "reading": {"workers": 1}}
            | ({} if cache is None else {"cache": str(cache)}),
        },
        "trainer": _trainer(epochs),
        "checkpoint": {"every_n_steps": CHECKPOINT},
    }


def of_films(root: Path, cache: Path | None, epochs: int = 5) -> Config:
    """Write the config of a training on videos."""
    return {
        "model": {
            "backbone": {"class_path": "fault_parts.nets.Films"},
            "tasks": {"arrow": {"class_path": "pretext.ArrowOfTime", "init_args": {"frames": 4}}},
            "optim": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}},
        },
        "data": {
            "class_path": "datamodules.Clips",
            "init_args": {
                "root": str(root),
                "modalities": "rgb",
                "canvas": 24,
                "batch_size": 2,
                "windows": {"frames": 4, "fps": 12.5},
                "reading": {"workers": 1},
                "disk": {"cache": None if cache is None else str(cache)},
            },
        },
        "trainer": _trainer(epochs),
        "checkpoint": {"every_n_steps": CHECKPOINT},
    }


def _trainer(epochs: int) -> Config:
    quiet = {"enable_progress_bar": False, "accelerator": "cpu", "logger": True}
    return {"max_epochs": epochs, "log_every_n_steps": 1, "gradient_clip_val": 1.0, **quiet}


CONFIGS = {"pictures": of_pictures, "videos": of_films}
