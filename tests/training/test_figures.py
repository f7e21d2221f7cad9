"""What a step measures reaches loggers, callbacks and bars as if Lightning had logged it, but in one transfer."""

import csv
import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from pytorch_lightning.loggers import CSVLogger

from pretext import Pretrainer, Rotation
from pretext.core.rng import rng
from pretext.training.callbacks import Checkpoint, Divergence, Progress, Stagnation, Throughput
from pretext.training.figures import Figures
from pretext.training.optimization import Optim


class Single(Rotation):
    def __init__(self, backbone):
        super().__init__(backbone, turns="one")


class Batches:
    """A few batches, the same in every epoch."""

    def __init__(self, count):
        x = (torch.rand(count * 8, 3, 12, 12, generator=rng("cpu", "figures")) * 255).byte()
        self.batches = [{"x": part, "index": torch.arange(8)} for part in x.split(8)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Logged(Pretrainer):
    """Logs as it did until figures were kept: Lightning's own `log`, in every step."""

    def keep(self, values, group=0):
        self.log_dict({name: value for name, value in values.items() if name != "train/loss"})
        self.log("train/loss", values["train/loss"], prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[group]["lr"])
        return {name: value.detach() for name, value in values.items()}


class Watch(pl.Callback):
    """Notes what other callbacks find in `callback_metrics`, and the losses as they were."""

    def __init__(self):
        self.found, self.ends, self.losses = [], [], []

    def on_before_backward(self, trainer, pl_module, loss):
        self.losses.append(loss.item())

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.found.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_train_epoch_end(self, trainer, pl_module):
        self.ends.append(float(trainer.callback_metrics["train/turn/accuracy"]))


class StopAt(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, *rest):
        trainer.should_stop = trainer.global_step >= self.step


def fit(kind, folder, callbacks=(), tasks=None, **options):
    torch.manual_seed(0)
    module = kind(TinyNet(), tasks or {"turn": Rotation, "one": Single}, scale_by_chance=True)
    trainer = pl.Trainer(
        **{"max_steps": 14, "log_every_n_steps": 3, "limit_val_batches": 0, "enable_progress_bar": False, **options},
        default_root_dir=folder, logger=CSVLogger(folder, name="", version=""), callbacks=list(callbacks),
        accelerator="cpu", enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, Batches(5), Batches(1))
    with (folder / "metrics.csv").open(newline="") as lines:
        return trainer, list(csv.DictReader(lines))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit_val_batches": 1},
        {"accumulate_grad_batches": 2, "max_steps": 7},
        {"callbacks": [StopAt(7)], "min_steps": 1},
    ],
    ids=["plain", "validation", "accumulated", "stopped"],
)
def test_rows_and_digits_are_those_of_lightnings_own_log(tmp_path, options):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    _, rows = fit(Pretrainer, tmp_path / "a", **options)
    _, others = fit(Logged, tmp_path / "b", **options)
    assert rows == others
    assert len(rows) >= 2


def test_callbacks_find_in_every_step_what_lightning_would_have_told_them(tmp_path):
    watches = []
    for kind in (Pretrainer, Logged):
        watches.append(Watch())
        (tmp_path / kind.__name__).mkdir()
        fit(kind, tmp_path / kind.__name__, [watches[-1]])
    ours, lightnings = watches
    assert ours.found == lightnings.found
    assert ours.ends == lightnings.ends
    assert len(ours.found) == 14
    assert [step["train/loss"] for step in ours.found] == ours.losses


def test_what_is_logged_every_n_steps_are_the_values_of_that_step(tmp_path):
    watch = Watch()
    _, rows = fit(Pretrainer, tmp_path, [watch])
    assert [int(row["step"]) for row in rows] == [2, 5, 8, 11]
    assert [float(row["train/loss"]) for row in rows] == [watch.losses[step] for step in (2, 5, 8, 11)]


def test_a_figure_is_a_copy_without_gradient_that_is_fetched_once():
    figures = Figures()
    shown = SimpleNamespace(_callback_metrics={}, _logged_metrics={})
    trainer = SimpleNamespace(global_step=3, progress_bar_metrics={}, _logger_connector=shown)
    loss = torch.tensor(2.0, requires_grad=True) * 1
    kept = figures.keep(trainer, {"train/loss": loss, "right": torch.tensor(1, dtype=torch.int64)})
    figures.add(trainer, "lr", 0.1)
    loss.detach().fill_(5.0)
    assert not kept["train/loss"].requires_grad
    assert figures.fetch(trainer) == {"train/loss": 2.0, "right": 1.0, "lr": torch.tensor(0.1).item()}
    assert figures.fetch(trainer) is figures.fetch(trainer)
    assert trainer.progress_bar_metrics == {"train/loss": 2.0}
    exact = {"double": torch.tensor(1 / 3, dtype=torch.float64)}
    figures.keep(trainer, exact)
    assert figures.fetch(trainer)["double"] == 1 / 3


class Kept(CSVLogger):
    """Counts how often it writes its file."""

    saves = 0

    def save(self):
        self.saves += 1
        super().save()


@pytest.mark.parametrize(("pause", "saves"), [(1e12, 0), (0.0, 8)])
def test_files_are_written_now_and_then_and_before_a_checkpoint(tmp_path, monkeypatch, pause, saves):
    monkeypatch.setattr("pretext.training.figures.PAUSE", pause)
    logger = Kept(tmp_path, name="", version="")
    torch.manual_seed(0)
    module = Pretrainer(TinyNet(), {"turn": Rotation})
    found = {}

    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            logger.saves = 0

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            with (tmp_path / "metrics.csv").open(newline="") as lines:
                found[trainer.global_step] = [int(row["step"]) for row in csv.DictReader(lines)]

    trainer = pl.Trainer(
        max_steps=8, log_every_n_steps=1, limit_val_batches=0, default_root_dir=tmp_path, logger=logger,
        callbacks=[Checkpoint(every_n_steps=3), Look()], accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, Batches(8), Batches(1))
    assert found == {3: [0, 1, 2], 6: [0, 1, 2, 3, 4, 5], 8: list(range(8))}
    assert logger.saves == saves + len(found) + 1  # and at the end


def test_a_line_of_progress_tells_of_the_step_that_ended(tmp_path, capsys):
    watch = Watch()
    callbacks = [watch, Throughput(), Progress(seconds=0)]
    fit(Pretrainer, tmp_path, callbacks, max_steps=4, log_every_n_steps=4, enable_progress_bar=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert [float(line.split("train/loss ")[1].split()[0]) for line in lines] == pytest.approx(watch.losses, rel=1e-3)
    assert all("items/s" in line for line in lines[1:])
    places = [line.split()[3].split("/") for line in lines]
    assert [int(step) for step, _ in places] == [1, 2, 3, 4]
    assert len({total for _, total in places}) == 1  # what is left of max_steps would fall from step to step
    assert int(places[0][1]) >= 4


def test_on_a_device_a_diverging_run_is_found_when_its_figures_are_fetched():
    torch.manual_seed(0)
    module = Pretrainer(TinyNet(), {"turn": Rotation, "one": Single}, optim=Optim())
    shown = SimpleNamespace(_callback_metrics={}, _logged_metrics={})
    trainer = SimpleNamespace(global_step=10, progress_bar_metrics={}, _logger_connector=shown)
    losses = {"train/turn/loss": torch.tensor(math.nan), "train/one/loss": torch.tensor(1.0)}
    module.figures.keep(trainer, {**losses, "train/loss": torch.tensor(math.nan)})
    look = Divergence()
    look.on_train_batch_start(trainer, module, None, 0)  # not fetched: nobody waits
    module.figures.fetch(trainer)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 9 \(tasks: turn\)"):
        look.on_train_batch_start(trainer, module, None, 0)


def test_stagnation_means_what_each_task_lost(tmp_path):
    stuck = Stagnation(steps=7, tolerance=1e9)
    with pytest.warns(UserWarning, match="mean training loss over 7 steps"):
        fit(Pretrainer, tmp_path, [stuck])
    assert stuck._stuck == {"turn", "one"}
