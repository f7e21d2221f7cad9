"""Trainings that are longer than a start: stopped in time, and continued by the next start."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from schedule import UNFINISHED, Answer, Clock

from gpu_parts.callbacks import marks_of
from gpu_parts.setting import Setting, last_lines

Config = dict[str, Any]
LAST = Path("checkpoints") / "last.ckpt"
EVERY = 30.0  # seconds between two lines
GRACE = 20.0  # seconds that a training may take to save what it has and to end


def advance(setting: Setting, name: str, config: Mapping[str, Any], clock: Clock) -> Answer:
    """Start a training, or go on with it, in a process of its own; stop it before the time is over.

    Raises:
        RuntimeError: it ended with an error.

    """
    run, log = setting.out / "runs" / name, setting.out / "logs" / f"{name}.txt"
    new = ["-c", str(setting.write(name, config)), "--trainer.default_root_dir", str(run)]
    resumes = (run / LAST).exists()
    begin = time.monotonic()
    process = setting.start(log, "fit", *([str(run)] if resumes else new))
    try:
        code = watched(process, log, clock)
    finally:
        if process.poll() is None:  # the time is over, or we were stopped ourselves
            stop(process)
    if code is None:
        return {UNFINISHED: True, "step": steps(run)}
    if code:
        raise RuntimeError(f"the training ended with {code}: {last_lines(log)}")
    return {"step": steps(run), "resumed": resumes, "last_start_s": time.monotonic() - begin}


def watched(process: subprocess.Popen[bytes], log: Path, clock: Clock) -> int | None:
    """Wait for a training and say now and then where it is; its exit code, or None where the time is over."""
    end = time.monotonic() + max(clock.left() - GRACE, 5.0)
    while (left := end - time.monotonic()) > 0:
        try:
            return process.wait(timeout=min(left, EVERY))
        except subprocess.TimeoutExpired:
            print(f"   {last_lines(log, 1)}", flush=True)
    return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let a training save after its step, as Ctrl-C does; what does not end then is killed."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def steps(run: Path) -> int:
    """Steps that a run's checkpoint has taken; 0 where there is none."""
    if not (run / LAST).exists():
        return 0
    return int(torch.load(run / LAST, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def pace(setting: Setting, name: str, config: Mapping[str, Any], batch: int) -> float:
    """Seconds per step once all files have been decoded: two epochs of a few images."""
    run, steps_each = setting.out / "runs" / f"{name}-pace", setting.size(50, 3)
    rmtree(run, ignore_errors=True)
    first, last = steps_each + setting.size(10, 1), 2 * steps_each - 1
    marks = {"class_path": "gpu_parts.callbacks.Marks", "init_args": {"steps": [first, last]}}
    data = {**config["data"]["init_args"], "split": {"val": 0.0, "limit": batch * steps_each}}
    if "class_path" in config["model"]:  # it chooses its stage by what is held out
        data["split"] = {"val": 1 / 11, "limit": batch * steps_each * 11 // 10}
    trainer = {**config["trainer"], "max_steps": last + 1, "max_epochs": -1, "callbacks": [marks]}
    trainer["enable_progress_bar"] = False
    short = {**config, "data": {**config["data"], "init_args": data}, "trainer": trainer}
    cli = setting.fit(f"{name}-pace", short, run)
    return marks_of(cli.trainer).per_step(first, last)
