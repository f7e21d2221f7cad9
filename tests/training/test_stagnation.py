"""Stagnation: who learns nothing is named, once; who learns is left alone."""

import math
import warnings
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from torch.optim import Adam

from pretext import Pretrainer, Rotation
from pretext.__main__ import main
from pretext.core.rng import rng
from pretext.training.callbacks import Stagnation
from pretext.training.optimization import Optim

CONFIG = """
model: {backbone: {class_path: nets.TinyNet}, tasks: {turn: {class_path: pretext.Rotation}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 32}}
trainer: {max_steps: 4, limit_val_batches: 0, accelerator: cpu, enable_progress_bar: false}
"""


class Single(Rotation):
    """One turn of each image, so that two tasks in one run have different names and losses."""

    def __init__(self, backbone):
        super().__init__(backbone, turns="one")


def constant(n=8):
    return torch.full((n, 3, 12, 12), 128, dtype=torch.uint8)


def sky(n=8):
    """Noise that is brighter at the top: which way is up is easily learnt."""
    noise = torch.rand(n, 3, 12, 12, generator=rng("cpu", "stagnation"))
    return ((noise * 0.5 + torch.linspace(0.5, 0, 12)[:, None]) * 255).byte()


class Batches:
    """The same batch over and over."""

    def __init__(self, x, count):
        self.x, self.count = x, count

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter([{"x": self.x, "index": torch.arange(len(self.x))}] * self.count)


def fit(x, steps, callback, **tasks):
    torch.manual_seed(0)
    module = Pretrainer(TinyNet(), tasks or {"turn": Rotation}, optim=Optim(lambda p: Adam(p, 0.01), "constant"))
    trainer = pl.Trainer(
        max_steps=steps,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1000,  # what is not logged counts as well
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "task ")  # any other is an error, as everywhere
        trainer.fit(module, Batches(x, steps), Batches(x, 1))
    return [str(warning.message) for warning in caught if str(warning.message).startswith("task ")]


def test_who_cannot_learn_is_named_once():
    said = fit(constant(), 22, Stagnation(steps=5))
    assert len(said) == 1
    assert said[0].startswith("task 'turn' (Rotation) does not learn: at step 5 its mean training loss over 5 steps is")
    assert "a blind guess costs 1.386" in said[0]
    assert "learning rate" in said[0]


def test_a_window_that_is_not_full_says_nothing():
    assert fit(constant(), 4, Stagnation(steps=5)) == []


def test_who_learns_is_left_alone():
    assert fit(sky(), 40, Stagnation(steps=20)) == []


def test_every_task_is_judged_by_itself():
    said = fit(constant(), 6, Stagnation(steps=3), turn=Rotation, single=Single)
    assert sorted(line.split(" does")[0] for line in said) == ["task 'single' (Single)", "task 'turn' (Rotation)"]


class Scripted:
    """A callback and a host whose losses are told by hand."""

    def __init__(self, **options):
        self.callback = Stagnation(**options)
        self.module = Pretrainer(TinyNet(), {"turn": Rotation})
        self.trainer = SimpleNamespace(global_step=0)
        self.callback.on_train_start(self.trainer, self.module)

    def tell(self, *shares):
        """Say how many times the loss of a blind guess each step's loss is; count the warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for share in shares:
                self.module.losses = {"turn": torch.tensor(share * math.log(4))}
                self.trainer.global_step += 1
                self.callback.on_train_batch_end(self.trainer, self.module, None, None, 0)
        return len(caught)


def test_it_warns_again_only_after_a_recovery():
    run = Scripted(steps=3)
    assert run.tell(1.0, 1.0, 1.0) == 1
    assert run.tell(*[1.0] * 9) == 0
    assert run.tell(0.5, 0.5, 0.5) == 0
    assert run.tell(1.0, 1.0, 1.0) == 1


@pytest.mark.parametrize(
    ("losses", "warns"),
    [
        ((1.019, 1.019), 1),
        ((1.021, 1.021), 0),
        ((0.981, 0.981), 1),
        ((0.979, 0.979), 0),
        ((1.5, 0.5), 1),  # noise around chance is chance
        ((1.0, 0.5), 0),
        ((5.0, 5.0), 0),
        ((1.0, math.nan), 0),  # that is Divergence's
        ((1.0, math.inf), 0),
    ],
)
def test_the_mean_of_the_window_decides(losses, warns):
    assert Scripted(steps=2).tell(*losses) == warns


def test_the_device_is_asked_once_per_window(monkeypatch):
    run, looks = Scripted(steps=5), []
    for fetch in ("__float__", "tolist"):
        known = getattr(torch.Tensor, fetch)
        look = lambda tensor, known=known: looks.append(run.callback._seen) or known(tensor)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, fetch, look)
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: pytest.fail("waits for the device"))
    run.tell(*[0.5] * 10)
    assert looks == [5, 5, 5, 5]  # all tasks' sums and the one task's chance, in each of two windows


def test_a_new_start_begins_a_new_window():
    run = Scripted(steps=3)
    assert run.tell(1.0, 1.0) == 0
    run.callback.on_train_start(run.trainer, run.module)
    assert run.tell(1.0, 1.0) == 0
    assert run.tell(1.0) == 1


def test_it_has_no_state_to_save():
    assert Stagnation().state_dict() == {}


@pytest.mark.parametrize("options", [{"steps": 0}, {"tolerance": -0.1}])
def test_options_out_of_range_are_errors(options):
    with pytest.raises(ValueError, match="Stagnation: steps="):
        Stagnation(**options)


def test_the_command_line_has_it_and_sets_it(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    command = ["fit", "-c", str(config), "--trainer.default_root_dir", str(tmp_path / "run"), "--stagnation.steps", "3"]
    with pytest.warns(UserWarning, match=r"task 'turn' \(Rotation\) does not learn: at step 3 .* over 3 steps"):
        assert main([*command, "--stagnation.tolerance", "0.9"]) == 0
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "stagnation:\n  steps: 3\n  tolerance: 0.9\n" in written
