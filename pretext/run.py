"""A run is a folder: config.yaml, checkpoints, logs, pictures. This file finds runs and builds what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf

from pretext.module import Pretrainer

CONFIG = "config.yaml"
LAST = Path("checkpoints") / "last.ckpt"


def find(path: str | Path) -> Path:
    """Find the folder of a run: `path` itself, or the newest of the numbered runs in it.

    Raises:
        FileNotFoundError: there is no run.

    """
    path = Path(path)
    if (path / CONFIG).is_file():
        return path
    if runs := [run for run in numbered(path) if (run / CONFIG).is_file()]:
        return runs[-1]
    raise FileNotFoundError(f"no run in {path}: a run is a folder with {CONFIG}, made by `pretext fit`")


def numbered(path: Path) -> list[Path]:
    """List the numbered folders in `path`, oldest first."""
    if not path.is_dir():
        return []
    return sorted((p for p in path.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name))


def read(path: str | Path) -> dict[str, Any]:
    """Read a config file with its interpolations resolved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it describes no model.

    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no config file {path}")
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} is no config of a run: it has no `model`")
    return {str(key): value for key, value in config.items()}


def build(
    config: Mapping[str, Any], options: Sequence[str] = (), modality: str | None = None
) -> tuple[Pretrainer, pl.LightningDataModule | None]:
    """Build the module and the data of a config; `options` are command-line options such as `--data.root DIR`.

    With a `modality`, data that can have several decodes, and misses, nothing but that one.
    """
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_class_arguments(Pretrainer, "model", fail_untyped=False)
    parser.add_subclass_arguments(pl.LightningDataModule, "data", fail_untyped=False, required=False)
    parser.add_argument("--seed_everything", type=int | bool, default=0)
    link_seed(parser)
    known = {key: value for key, value in config.items() if key in ("model", "data", "seed_everything")}
    base = parser.parse_object(known)
    parsed = parser.parse_args(list(options), namespace=base)
    data = parsed.get("data")
    if modality is not None and data is not None and "modalities" in data.get("init_args", {}):
        data.init_args.modalities = [modality]
    pl.seed_everything(int(parsed.seed_everything), verbose=False)
    built = parser.instantiate(parsed)
    return built.model, built.get("data")


def link_seed(parser: ArgumentParser) -> None:
    """Let the one option --seed_everything seed weights, puzzles and data order (where a data module takes a seed)."""
    parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
    parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)


def restore(module: Pretrainer, run: Path) -> Pretrainer:
    """Load the trained weights of a run into `module` and put it into evaluation mode.

    Raises:
        FileNotFoundError: the run has no checkpoint yet.

    """
    file = run / LAST
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint {file}; train it first with `pretext fit {run}`")
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    module.on_load_checkpoint(checkpoint)
    return module.eval()


def load(path: str | Path) -> Pretrainer:
    """Load a trained run, in evaluation mode: `pretext.load("runs/rotation").backbone`.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.

    """
    run = find(path)
    module, _ = build({key: value for key, value in read(run / CONFIG).items() if key != "data"})
    return restore(module, run)
