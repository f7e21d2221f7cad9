"""A training that is killed on the device and resumed, against one that was left alone: real processes, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from schedule import Answer, Clock, Part, Question

from gpu_parts.long_run import LAST, steps
from gpu_parts.setting import Setting, last_lines

Config = dict[str, Any]
KILLS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM}
EXACT, FREE, RECORDED = "deterministic", "as shipped", "as shipped, recorded"
EARLIEST = 5  # the step from which it may be killed
PATIENCE = 120.0  # seconds that a process may take


def part(setting: Setting) -> Part:
    """Make the part; a dry run compares once, on a processor all kernels are deterministic."""
    least, kernels = setting.size(40.0, 1.0), setting.size((EXACT, RECORDED, FREE), (EXACT,))
    asked = [Question(name, partial(compare, setting, name), least) for name in kernels]
    return Part("resume", "killed and resumed on the device, bit for bit", 0.08, lambda: asked, table)


def config(setting: Setting, kernels: str) -> Config:
    """Two tasks, dropout-free, on scikit-learn's digits, a checkpoint at every fifth step."""
    net = {"name": "resnet18", "stem": "small", "stem_stride": 2, "width": setting.size(0.5, 0.125)}
    jigsaw = {"class_path": "pretext.Jigsaw", "init_args": {"grid": 2, "permutations": 24}}
    return {
        "model": {
            "backbone": {"class_path": "pretext.TorchVision", "init_args": net},
            "tasks": {"turn": {"class_path": "pretext.Rotation"}, "puzzle": jigsaw},
            "augment": {"class_path": "pretext.Augment", "init_args": {"crop": 28, "pad": 1}},
            "execution": {"channels_last": True, "cuda_graphs": kernels == RECORDED},
        },
        "data": {"class_path": "datamodules.Digits", "init_args": {"size": 32, "batch_size": 64}},
        "trainer": {
            "max_epochs": setting.size(20, 1),
            "precision": "bf16-mixed",
            "deterministic": "warn" if kernels == EXACT else False,
        },
        "checkpoint": {"every_n_steps": EARLIEST},
    }


def compare(setting: Setting, kernels: str, clock: Clock, before: Answer) -> Answer:
    """Train undisturbed, twice, and with two kinds of kill, all at the same time; compare the weights.

    Without deterministic kernels two undisturbed runs may differ already; then the others have nothing to equal.

    Raises:
        AssertionError: the kernels are deterministic, and weights differ.
        RuntimeError: a process failed.

    """
    name_of_files = f"resume-{kernels.replace(', ', '-').replace(' ', '-')}"
    file = setting.write(name_of_files, config(setting, kernels))
    home = setting.out / "runs" / name_of_files
    rmtree(home, ignore_errors=True)
    names = ("alone", *KILLS) if setting.dry else ("alone", "again", *KILLS)
    started = {name: begin(setting, file, home / name) for name in names}
    killed = {name: kill(started[name], home / name, number) for name, number in KILLS.items()}
    for name in KILLS:
        started[name] = setting.start(home / f"{name}.txt", "fit", str(home / name))
    for name, process in started.items():
        finish(process, home / f"{name}.txt", max(clock.left(), PATIENCE))
    same = {name: equal(home / "alone", home / name) for name in names if name != "alone"}
    if kernels == EXACT and not all(same.values()):
        raise AssertionError(f"weights differ from those of the run that was left alone: {same}, killed at {killed}")
    return {
        "same": same,
        "killed at step": {name: step for name, (step, _) in killed.items()},
        "exit codes": {name: code for name, (_, code) in killed.items()},
        "steps": steps(home / "alone"),
    }


def begin(setting: Setting, file: Path, run: Path) -> subprocess.Popen[bytes]:
    """Start a training."""
    log = run.parent / f"{run.name}.txt"
    return setting.start(log, "fit", "-c", str(file), "--trainer.default_root_dir", str(run))


def kill(process: subprocess.Popen[bytes], run: Path, number: signal.Signals) -> tuple[int, int]:
    """Send the signal as soon as there is a checkpoint; return its step then and the exit code.

    Raises:
        RuntimeError: the training ended before.

    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if steps(run) >= EARLIEST:
            process.send_signal(number)
            code = process.wait(timeout=PATIENCE)
            return steps(run), code
        time.sleep(0.02)
    process.kill()
    raise RuntimeError(f"it ended, or had no checkpoint in time: {last_lines(run.parent / f'{run.name}.txt')}")


def finish(process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    """Wait so many seconds for a training to end well.

    Raises:
        RuntimeError: it did not.

    """
    try:
        code = process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        code = -1
    if code:
        raise RuntimeError(f"a training ended with {code}: {last_lines(log)}")


def equal(one: Path, other: Path) -> bool:
    """Compare the weights of two runs, bit for bit, and their steps."""
    first, second = (torch.load(run / LAST, map_location="cpu", weights_only=True) for run in (one, other))
    names = first["state_dict"].keys() == second["state_dict"].keys()
    same = all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
    return bool(names and same and first["global_step"] == second["global_step"])


def table(answers: dict[str, Answer]) -> list[str]:
    """Say which runs are the same."""
    lines = ["| kernels | killed by | at step | of | exit code | same weights |", "|---|---|---|---|---|---|"]
    for name, answer in answers.items():
        if "same" not in answer:
            continue
        for kind in answer["same"]:
            step = answer["killed at step"].get(kind, "-")
            code = answer["exit codes"].get(kind, "-")
            said = "yes, bit for bit" if answer["same"][kind] else "no"
            what = "nothing (a second run)" if kind == "again" else kind
            lines.append(f"| {name} | {what} | {step} | {answer['steps']} | {code} | {said} |")
    return lines
