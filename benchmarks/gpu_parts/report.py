"""The answers as Markdown, for benchmarks/README.md."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from provenance import found
from schedule import Book, Part, pages

from gpu_parts.setting import Setting

PACKAGES = ("torch", "torchvision", "torchaudio", "pytorch-lightning")


def about(setting: Setting) -> dict[str, Any]:
    """Name the device and the versions: what all starts must have in common."""
    device = torch.cuda.get_device_name() if setting.device == "cuda" else "CPU"
    return {"dry": setting.dry, "device": device, "python": sys.version.split()[0]} | {
        package: found(package) for package in PACKAGES
    }


def driver() -> str:
    """Name the driver, as nvidia-smi does."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.strip().splitlines()[0]


def markdown(parts: Sequence[Part], book: Book) -> str:
    """Write all tables; what was not asked is said."""
    facts, starts = book.content["about"], book.content["starts"]
    versions = {key: value for key, value in facts.items() if key not in ("dry", "device")}
    versions["commit"] = starts[-1]["commit"]
    said = ", ".join(f"{key} {value}" for key, value in versions.items())
    machine = f"{facts['device']}, driver {starts[-1]['driver']}, {starts[-1]['cores']} cores, {said}."
    lines = ["A dry run on a processor: no figure below says anything of an accelerator.", ""] if facts["dry"] else []
    lines += [machine, "", *(f"    {start['command']}" for start in starts)]
    return "\n".join([*lines, *pages(parts, book)]) + "\n"
