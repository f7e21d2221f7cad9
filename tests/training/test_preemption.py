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
    torch.testing.assert_close(a["optimizer_states"], b["optimizer_states"], rtol=0, atol=0)
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
