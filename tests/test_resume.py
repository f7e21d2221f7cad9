"""A run that is killed and resumed is bit-identical to one that was left alone: real processes, real kills."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

# Dropout, so that the network's own chance is covered; validation inside, so that loops of both kinds are resumed.
CONFIG = """
model:
  backbone: {class_path: nets.TinyNet, init_args: {dropout: 0.3}}
  tasks:
    turn: {class_path: pretext.Rotation}
    puzzle: {class_path: pretext.Jigsaw, init_args: {grid: 2, permutations: 24}}
  weighting: {class_path: pretext.weighting.Uncertainty}
  augment: {class_path: pretext.Augment, init_args: {crop: 14, pad: 1}}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 64}}
trainer: {max_epochs: 5, log_every_n_steps: 1, accelerator: cpu, enable_progress_bar: false, gradient_clip_val: 1.0}
"""


def start(*args):
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pretext", "fit", *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


def kill_after_step(process, file, step):
    """Kill -9 as soon as a checkpoint of at least `step` steps is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if file.exists() and torch.load(file, weights_only=True)["global_step"] >= step:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return torch.load(file, weights_only=True)["global_step"]
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()[0]}"
        time.sleep(0.01)
    raise AssertionError("no checkpoint in time")


def losses(run):
    """Merge the rows of metrics.csv to {(step, column): text}; equal text is equal to the last bit."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["step"], key): value for row in rows for key, value in row.items() if value and key != "items/s"}


def test_killed_twice_and_resumed_is_bit_identical(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    options = ("--checkpoint.every_n_steps", "7")
    finish(start("-c", config, "--trainer.default_root_dir", whole, *options))
    last = torn / "checkpoints" / "last.ckpt"
    first = kill_after_step(start("-c", config, "--trainer.default_root_dir", torn, *options), last, 7)
    second = kill_after_step(start(torn), last, first + 20)
    finish(start("-c", config, "--trainer.default_root_dir", torn, "--ckpt_path", "last", *options))

    a, b = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, torn))
    assert first < second < a["global_step"] == b["global_step"]
    assert a["global_step"] % 5 == 0
    assert first % (a["global_step"] // 5), "the kill was meant to fall inside an epoch"
    for name, weight in a["state_dict"].items():
        assert torch.equal(weight, b["state_dict"][name]), name
    one, other = losses(whole), losses(torn)
    assert one == other
    assert sum(key == "train/loss" for _, key in one) == a["global_step"]
    assert sum(key == "val/loss" for _, key in one) == 5
