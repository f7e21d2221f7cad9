"""A run that is killed and resumed is bit-identical to one that was left alone: real processes, real kills."""

import csv
import os
import signal
import time

import pytest
import torch
from forked import ended, run, start

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


def finish(log, *args):
    code, output = run(log, "fit", *args)
    assert code == 0, output


def kill_after_step(log, file, step, *args):
    """Fit and kill -9 as soon as a checkpoint of at least `step` steps is there; return its step."""
    process, deadline = start(log, "fit", *args), time.monotonic() + 120
    while time.monotonic() < deadline:
        if file.exists() and torch.load(file, weights_only=True)["global_step"] >= step:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL, "ended before it could be killed"
            return torch.load(file, weights_only=True)["global_step"]
        assert process.is_alive(), f"ended before it could be killed: {log.read_text()}"
        time.sleep(0.01)
    raise AssertionError("no checkpoint in time")


def test_ctrl_c_saves_and_the_run_goes_on_where_it_was(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    log, torn, options = tmp_path / "log", tmp_path / "torn", ("--checkpoint.every_n_steps", "1000")
    fit = ("fit", "-c", config, "--trainer.default_root_dir", torn, *options, "--trainer.max_epochs", "500")
    process = start(log, *fit)
    wait_for(torn / "metrics.csv", process, log)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) not in (0, -signal.SIGKILL)
    assert f"continue: pretext fit {torn}" in log.read_text()
    assert "Traceback" not in log.read_text()
    step = torch.load(torn / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step > 0
    finish(log, torn, "--trainer.max_epochs", "-1", "--trainer.max_steps", step + 2)
    assert torch.load(torn / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step + 2


def test_more_steps_for_a_finished_run_and_another_rate(tmp_path):
    """Stopped by max_steps inside an epoch and given more, a run sees the batches that one longer run sees."""
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.replace("  optim:\n", "  optim:\n    schedule: constant\n    warmup: 0.0\n"))
    log, whole, grown = tmp_path / "log", tmp_path / "whole", tmp_path / "grown"
    once = ("-c", config, "--trainer.max_epochs", "-1")
    finish(log, *once, "--trainer.default_root_dir", whole, "--trainer.max_steps", "9")
    finish(log, *once, "--trainer.default_root_dir", grown, "--trainer.max_steps", "5")
    finish(log, grown, "--trainer.max_steps", "9")
    assert losses(whole) == losses(grown)
    finish(log, grown, "--trainer.max_steps", "11", "--model.optim.optimizer.lr", "0.001")
    rates = {key: value for key, value in losses(grown).items() if key[1] == "lr"}
    assert abs(float(rates["8", "lr"]) - 0.05) < 1e-6
    assert abs(float(rates["9", "lr"]) - 0.001) < 1e-6


@pytest.mark.slow
def test_killed_right_after_the_checkpoint_at_the_end_of_an_epoch(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    log, whole, torn = tmp_path / "log", tmp_path / "whole", tmp_path / "torn"
    options = ("--checkpoint.every_n_steps", "18", "--trainer.max_epochs", "3")  # 18 steps an epoch
    finish(log, "-c", config, "--trainer.default_root_dir", whole, *options)
    fit = ("-c", config, "--trainer.default_root_dir", torn, *options)
    assert kill_after_step(log, torn / "checkpoints" / "last.ckpt", 18, *fit) in (18, 36)
    finish(log, torn)
    assert losses(whole) == losses(torn)


def wait_for(file, process, log):
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.is_alive(), log.read_text()
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
    log, whole, torn = tmp_path / "log", tmp_path / "whole", tmp_path / "torn"
    options = ("--checkpoint.every_n_steps", "7")
    finish(log, "-c", config, "--trainer.default_root_dir", whole, *options)
    last = torn / "checkpoints" / "last.ckpt"
    first = kill_after_step(log, last, 7, "-c", config, "--trainer.default_root_dir", torn, *options)
    second = kill_after_step(log, last, first + 20, torn)
    finish(log, "-c", config, "--trainer.default_root_dir", torn, "--ckpt_path", "last", *options)

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
