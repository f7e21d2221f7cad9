"""The answers as Markdown, for benchmarks/README.md."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from gpu_parts.schedule import DONE, ERROR, UNFINISHED, Book, Part
from gpu_parts.setting import REPOSITORY, Setting

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


def commit() -> str:
    """Name the commit, where the repository came with its history."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def found(package: str) -> str:
    """Name the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def command() -> str:
    """The command line as it was given."""
    return shlex.join(["python", *sys.argv])


def markdown(parts: Sequence[Part], book: Book) -> str:
    """Write all tables; what was not asked is said."""
    facts, starts = book.content["about"], book.content["starts"]
    versions = {key: value for key, value in facts.items() if key not in ("dry", "device")}
    versions["commit"] = starts[-1]["commit"]
    said = ", ".join(f"{key} {value}" for key, value in versions.items())
    machine = f"{facts['device']}, driver {starts[-1]['driver']}, {starts[-1]['cores']} cores, {said}."
    lines = ["A dry run on a processor: no figure below says anything of an accelerator.", ""] if facts["dry"] else []
    lines += [machine, "", *(f"    {start['command']}" for start in starts)]
    for part in parts:
        answers, state = book.answers(part.name), book.state(part.name)
        if part.on_demand and not answers:
            continue
        lines += ["", f"### {part.about[0].upper()}{part.about[1:]}", ""]
        lines += [*part.table(answers), *([] if state == DONE else _open(part, book))] if answers else ["Not run."]
    return "\n".join(lines) + "\n"


def _open(part: Part, book: Book) -> list[str]:
    """Say what failed and what is still to be asked."""
    answers = book.answers(part.name)
    failed = [f"{name} ({answer[ERROR]})" for name, answer in answers.items() if ERROR in answer]
    names = [question.name for question in part.questions()]
    waits = [name for name in names if name not in answers or UNFINISHED in answers[name]]
    lines = [f"Failed: {'; '.join(failed)}."] if failed else []
    lines += [f"Not finished: {', '.join(waits)}."] if waits else []
    return ["", *lines] if lines else []
