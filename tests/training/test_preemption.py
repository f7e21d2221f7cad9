"""A run that a signal stops loses nothing: real processes, real signals, equal to the last bit."""

import csv
import signal

import pytest
import torch
from forked import run

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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize(
    ("hook", "step", "at"),
    [("on_train_batch_start", 2, 3), ("on_validation_batch_end", 6, 6)],
    ids=["training", "validation"],
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
