"""A run that is killed and resumed is bit-identical to one that was left alone: real processes, real kills."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

# Dropout, so that the network's own chance is covered; validation inside, so that loops of both kinds are resumed.
CONFIG = """
model:
  backbone: {class_path: nets.TinyNet, init_args: {dropout: 0.3}}
  tasks:
    turn: {class_path: pretext.Rotation}
    puzzle: {class_path: pretext.Jigsaw, init_args: {grid: 2, permutations: 24}}
  weighting: {class_path: pretext.nn.weighting.Uncertainty}
  augment: {class_path: pretext.Augment, init_args: {crop: 14, pad: 1}}
  optim:
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 64}}
trainer: {max_epochs: 5, log_every_n_steps: 1, accelerator: cpu, enable_progress_bar: false, gradient_clip_val: 1.0}
"""


def start(*args):
    here = str(Path(__file__).parents[1])
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


def test_ctrl_c_saves_and_the_run_goes_on_where_it_was(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    run, options = tmp_path / "torn", ("--checkpoint.every_n_steps", "1000")
    process = start("-c", config, "--trainer.default_root_dir", run, *options, "--trainer.max_epochs", "500")
    wait_for(run / "metrics.csv", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"continue: pretext fit {run}" in output
    assert "Traceback" not in output
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step > 0
    finish(start(run, "--trainer.max_epochs", "-1", "--trainer.max_steps", step + 2))
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step + 2


def test_more_steps_for_a_finished_run_and_another_rate(tmp_path):
    """Stopped by max_steps inside an epoch and given more, a run sees the batches that one longer run sees."""
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.replace("  optim:\n", "  optim:\n    schedule: constant\n    warmup: 0.0\n"))
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    once = ("-c", config, "--trainer.max_epochs", "-1")
    finish(start(*once, "--trainer.default_root_dir", whole, "--trainer.max_steps", "9"))
    finish(start(*once, "--trainer.default_root_dir", grown, "--trainer.max_steps", "5"))
    finish(start(grown, "--trainer.max_steps", "9"))
    assert losses(whole) == losses(grown)
    finish(start(grown, "--trainer.max_steps", "11", "--model.optim.optimizer.lr", "0.001"))
    rates = {key: value for key, value in losses(grown).items() if key[1] == "lr"}
    assert abs(float(rates["8", "lr"]) - 0.05) < 1e-6
    assert abs(float(rates["9", "lr"]) - 0.001) < 1e-6


@pytest.mark.slow
def test_killed_right_after_the_checkpoint_at_the_end_of_an_epoch(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    options = ("--checkpoint.every_n_steps", "18", "--trainer.max_epochs", "3")  # 18 steps an epoch
    finish(start("-c", config, "--trainer.default_root_dir", whole, *options))
    process = start("-c", config, "--trainer.default_root_dir", torn, *options)
    assert kill_after_step(process, torn / "checkpoints" / "last.ckpt", 18) in (18, 36)
    finish(start(torn))
    assert losses(whole) == losses(torn)


def wait_for(file, process):
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"no {file} in time"
        time.sleep(0.05)


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
