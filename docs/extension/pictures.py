"""Pictures of what tasks ask, drawn by the code itself from two photos and from videos that it makes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from yaml import safe_load

from extension.generated import picture_of
from pretext.core import catalogue
from pretext.core.configs import PACKAGED

VIDEOS = {"train_videos": 16, "test_videos": 8}
CROPS = 3  # squares of each photo, from left to right


def draw(folder: Path, media: Path) -> None:
    """Draw two puzzles of each task, untrained, as `pretext show -c CONFIG` does; a picture that is there stays."""
    from pretext.training.run import build
    from pretext.verbs.looking import draw as drawn

    photos(media / "photos")
    wanted = {name: folder / f"{name}.png" for name in map(picture_of, catalogue.tasks()) if name}
    for name, file in sorted(wanted.items()):
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        config = safe_load((PACKAGED / f"{name}.yaml").read_text(encoding="utf-8"))
        module, data = build(shown(config, media))
        drawn(module, data, 2, False, file)


def photos(folder: Path) -> None:
    """Cut squares out of the photos that come with scikit-learn (both by danielbuechele, CC BY 2.0)."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(load_sample_images().images):
        side = min(pixels.shape[:2])
        for crop in range(CROPS):
            left = (pixels.shape[1] - side) * crop // (CROPS - 1)
            Image.fromarray(pixels[:, left : left + side]).save(folder / f"{number}{crop}.png")


def shown(config: Mapping[str, Any], media: Path) -> dict[str, Any]:
    """Give a config data that are at hand: the photos, or videos with sound."""
    new = copy.deepcopy(dict(config))
    data = new["data"]
    given = data["init_args"] | {"batch_size": 4}
    if "windows" in given or data["class_path"] == "datamodules.Sounds":
        given = {key: value for key, value in given.items() if key in ("modalities", "canvas", "windows", "batch_size")}
        given = {"modalities": ["rgb"], **given, "root": str(media / "videos"), "videos": VIDEOS}
        if data["class_path"] == "datamodules.Sounds":
            given |= {"modalities": ["audio"], "windows": {"frames": 16, "fps": 12.5, "window": 24}}
        new["data"] = {"class_path": "datamodules.Bouncing", "init_args": given}
    else:
        kept = {key: value for key, value in given.items() if key in ("canvas", "batch_size")}
        new["data"] = {"class_path": "datamodules.Photos", "init_args": kept | {"root": str(media / "photos")}}
    return new
