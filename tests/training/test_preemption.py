"""A run that a signal stops loses nothing: real processes, real signals, equal to the last bit."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from folders import labelled_folder
from forked import run, run_ranks

CONFIG = """
model:
  backbone: {class_path: nets.TinyNet, init_args: {dropout: 0.3}}
  tasks: {turn: {class_path: pretext.Rotation}}
  augment: {class_path: pretext.Augment, init_args: {crop: 14, pad: 1}}
  optim: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16}}
trainer: {max_epochs: 2, limit_train_batches: 6, limit_val_batches: 3, log_every_n_steps: 1, accelerator: cpu,
  enable_progress_bar: false, gradient_clip_val: 1.0}
"""


def history(folder):
    """Read metrics.csv as {(step, column): text}; equal text is equal to the last bit."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [((row["step"], key), value) for row in rows for key, value in row.items() if value and key != "items/s"]
    columns = [key for key, _ in found if key[1] not in ("step", "epoch")]
    assert len(columns) == len(set(columns)), "nothing is logged twice"
    return dict(found)


def saved(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_run(one, other):
    a, b = saved(one), saved(other)
    assert a["global_step"] == b["global_step"]
    assert a["state_dict"].keys() == b["state_dict"].keys()
    assert all(torch.equal(weight, b["state_dict"][name]) for name, weight in a["state_dict"].items())
    momenta = [state["optimizer_states"][0]["state"] for state in (a, b)]
    torch.testing.assert_close(*momenta, rtol=0, atol=0)
    # The rate in a checkpoint is never read: it is set before each step, and stands in the history.
    assert history(one) == history(other)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preemption")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def whole(home):
    """Make a run that nobody disturbed, for each set of options once."""
    made = {}

    def make(*options):
        if options not in made:
            made[options] = home / f"whole-{len(made)}"
            where = ("--trainer.default_root_dir", made[options])
            code, output = run(home / "log", "fit", "-c", home / "tiny.yaml", *where, *options)
            assert code == 0, output
        return made[options]

    return make


def stopped_and_resumed(home, folder, names, hook, step, *options):
    """Run until signals stop it, and go on; return the exit code, what was printed, and the step of the checkpoint."""
    sender = f"[{{class_path: senders.Send, init_args: {{names: [{', '.join(names)}], hook: {hook}, step: {step}}}}}]"
    fit = ("fit", "-c", home / "tiny.yaml", "--trainer.default_root_dir", folder, "--trainer.callbacks", sender)
    code, output = run(home / "log", *fit, *options)
    at = saved(folder)["global_step"]
    last, rest = run(home / "log", "fit", folder)
    assert last == 0, rest
    return code, output, at


TRAINING, VALIDATION = ("on_train_batch_start", 2, 3), ("on_validation_batch_end", 6, 6)


@pytest.mark.parametrize(
    ("name", "hook", "step", "at"),
    [
        ("SIGTERM", *TRAINING),
        ("SIGUSR1", *TRAINING),
        ("SIGUSR2", *TRAINING),
        ("SIGTERM", *VALIDATION),
        pytest.param("SIGUSR1", *VALIDATION, marks=pytest.mark.slow),
        pytest.param("SIGUSR2", *VALIDATION, marks=pytest.mark.slow),
    ],
)
def test_each_signal_saves_and_the_run_goes_on_bit_for_bit(home, whole, tmp_path, name, hook, step, at):
    code, output, reached = stopped_and_resumed(home, tmp_path / "torn", [name], hook, step)
    assert code == 128 + getattr(signal, name)
    assert f"{name} at step {at}; continue: pretext fit {tmp_path / 'torn'}" in output
    assert "Traceback" not in output
    assert reached == at
    assert_same_run(whole(), tmp_path / "torn")


INSIDE = ("--trainer.val_check_interval", "3")
HALVES = ("--trainer.accumulate_grad_batches", "2", "--trainer.limit_train_batches", "7")
ENDS = ("--trainer.max_epochs", "-1", "--trainer.max_steps", "12")
OFTEN = ("--checkpoint.every_n_steps", "2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "step", "options", "at"),
    [
        ("on_train_batch_start", 0, (), 1),
        ("on_save_checkpoint", 4, OFTEN, 5),
        ("on_train_batch_start", 5, (), 6),  # validation comes next, and is left before its first batch
        ("on_validation_end", 6, (), 6),  # all that remains of the epoch is to save
        ("on_train_epoch_end", 6, (), 6),
        ("on_train_batch_start", 2, INSIDE, 3),
        ("on_validation_batch_end", 3, INSIDE, 3),
        ("on_validation_batch_end", 9, INSIDE, 9),
        ("on_validation_end", 3, INSIDE, 3),
        ("on_train_batch_start", 8, INSIDE, 9),
        ("on_train_batch_start", 1, HALVES, 2),
        ("on_train_batch_start", 3, HALVES, 4),
        ("on_validation_batch_start", 4, HALVES, 4),
        ("on_validation_batch_start", 12, (), 12),
        ("on_validation_batch_start", 12, ENDS, 12),
        ("on_train_batch_start", 11, ENDS, 12),
    ],
)
def test_whenever_it_comes(home, whole, tmp_path, hook, step, options, at):
    """Two signals, of which the first counts, as schedulers send them."""
    code, output, reached = stopped_and_resumed(home, tmp_path / "torn", ["SIGUSR1", "SIGTERM"], hook, step, *options)
    assert code == 128 + signal.SIGUSR1, output
    assert reached == at
    assert_same_run(whole(*options), tmp_path / "torn")


def test_before_the_first_step_nothing_is_lost_and_one_command_begins_and_goes_on(home, whole, tmp_path):
    sender = "[{class_path: senders.Send, init_args: {names: [SIGTERM], hook: on_fit_start, step: 0}}]"
    fit = ("fit", "-c", home / "tiny.yaml", "--trainer.default_root_dir", tmp_path, "--ckpt_path", "last")
    assert run(home / "log", *fit, "--trainer.callbacks", sender)[0] == 128 + signal.SIGTERM
    assert not (tmp_path / "checkpoints").exists()
    for _ in range(2):  # the second finds a run that is finished
        code, output = run(home / "log", *fit)
        assert code == 0, output
        assert_same_run(whole(), tmp_path)


TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


PLACES = [("on_train_batch_start", 2, 4), ("on_train_batch_start", 5, 6), ("on_validation_batch_end", 6, 6)]
RANKS = {0: "first", 1: "second", "null": "both"}
FIRST = (*PLACES[0], 1)  # runs always


@pytest.mark.parametrize(
    ("hook", "step", "at", "rank"),
    [
        pytest.param(*place, rank, id=f"{place[0]}-{place[1]}-{name}", marks=pytest.mark.slow if slow else ())
        for place in PLACES
        for rank, name in RANKS.items()
        for slow in [(*place, rank) != FIRST]
    ],
)
def test_two_ranks_stop_after_the_same_step(home, tmp_path, hook, step, at, rank):
    """One step later than one rank does: what is said in one round is heard in the next."""
    whole, torn = home / "whole-of-two", tmp_path / "torn"
    fit = ("fit", "-c", home / "tiny.yaml", *TWO)
    if not whole.exists():
        codes, output = run_ranks(home / "log", 2, *fit, "--trainer.default_root_dir", whole)
        assert codes == [0, 0], output
    options = f"names: [SIGUSR2], hook: {hook}, step: {step}, rank: {rank}"
    sender = ("--trainer.callbacks", f"[{{class_path: senders.Send, init_args: {{{options}}}}}]")
    codes, output = run_ranks(home / "log", 2, *fit, "--trainer.default_root_dir", torn, *sender)
    assert codes == [128 + signal.SIGUSR2] * 2, output
    assert saved(torn)["global_step"] == at
    codes, output = run_ranks(home / "log", 2, "fit", torn)
    assert codes == [0, 0], output
    assert_same_run(whole, torn)


def spawn(*command):
    here = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((here, str(Path(here).parent))), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", *map(str, command)], env=env)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["alone", "lightning", "torchrun"])
def test_the_command_itself_under_each_launcher(home, tmp_path, launcher):
    """Sent from outside while it trains; torchrun passes the signal on, and has a code of its own."""
    torchrun = (
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--signals-to-handle",
        "SIGUSR1",
        "-m",
    )
    fit = ("pretext", "fit", "-c", home / "tiny.yaml", "--trainer.default_root_dir", tmp_path)
    more = () if launcher == "alone" else TWO
    process = spawn(*(torchrun if launcher == "torchrun" else ()), *fit, *more, "--trainer.max_epochs", "1000")
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    code = process.wait(60)
    assert code == 1 if launcher == "torchrun" else code == 128 + signal.SIGUSR1
    assert 0 < saved(tmp_path)["global_step"] < 6000


@pytest.mark.slow
def test_under_slurm_lightning_does_not_put_the_job_back_as_well(home, tmp_path):
    """SLURM's command, of which there is none here, would leave a note."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    scontrol.chmod(0o755)
    names = ("JOB_ID", "NTASKS", "NTASKS_PER_NODE", "PROCID", "LOCALID", "NODEID")
    job = {f"SLURM_{name}": "0" if name.endswith("ID") else "1" for name in names} | {"SLURM_JOB_NAME": "fit"}
    job |= {"SLURM_NODELIST": "localhost", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    sender = "[{class_path: senders.Send, init_args: {names: [SIGUSR1], hook: on_train_batch_start, step: 2}}]"
    where = ("--trainer.default_root_dir", tmp_path / "torn", "--trainer.callbacks", sender)
    code, output = run(home / "log", "fit", "-c", home / "tiny.yaml", *where, **job)
    assert code == 128 + signal.SIGUSR1, output
    assert not (tmp_path / "called").exists()
    assert sorted(file.name for file in (tmp_path / "torn" / "checkpoints").iterdir()) == ["last.ckpt"]
    assert list((tmp_path / "torn").glob("*hpc*")) == []


@pytest.mark.slow
def test_while_files_are_decoded(home, tmp_path):
    root = labelled_folder(tmp_path / "data", 200)
    data = ("--data", "datamodules.ImageFolder", "--data.root", root, "--data.canvas", "16", "--data.batch_size", "16")
    begin = time.monotonic()
    code, output, at = stopped_and_resumed(
        home, tmp_path / "torn", ["SIGTERM"], "on_train_batch_start", 2, *data, "--data.reading.workers", "2"
    )
    assert code == 128 + signal.SIGTERM, output
    assert at == 3
    assert time.monotonic() - begin < 60
