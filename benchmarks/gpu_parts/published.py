"""Trainings of configs/published with what an accelerator adds and the sizes of a dry run; nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from gpu_parts.setting import Setting
from pretext.benchmark.reproduce import CONFIGS, ITEMS

Config = dict[str, Any]


def published(
    setting: Setting, file: str, epochs: int, batch: int, small: Mapping[str, Any], own: Config | None = None
) -> Config:
    """Read a published config.

    Args:
        setting: where data lies.
        file: its name in configs/published.
        epochs: to train.
        batch: its items in a dry run.
        small: options of a dry run.
        own: further options of the model's `init_args`.

    """
    config = yaml.safe_load((CONFIGS / file).read_text(encoding="utf-8"))
    inside = {"execution": {"channels_last": True}, **(own or {})}
    each = config["data"]["init_args"]["batch_size"]
    added = {
        "model": {"init_args": inside} if "class_path" in config["model"] else inside,
        "data": {"init_args": {"root": str(setting.cifar)}},
        "trainer": {"max_epochs": epochs, "enable_progress_bar": True, "precision": "bf16-mixed"},
        "checkpoint": {"every_n_steps": ITEMS // each},
    }
    dry = {"data": {"init_args": {"batch_size": batch, "split": {"limit": 16}}}}
    merged = OmegaConf.merge(config, added, *([dry, small] if setting.dry else []))
    whole: Config = OmegaConf.to_container(merged)  # type: ignore[assignment]  # of a mapping, so a dict
    return whole
