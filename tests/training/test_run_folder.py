"""Where runs go, what a failed start leaves (nothing), and how often a run is saved."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from test_pretrainer import batches

from pretext import Pretrainer, Rotation
from pretext.__main__ import main
from pretext.cli.runs import size
from pretext.training.callbacks import Checkpoint
from pretext.training.run_folder import RunFolder, home_of

TINY = """
model:
  backbone: {class_path: nets.TinyNet}
  tasks:
    turn: {class_path: pretext.Rotation}
    shuffle: {class_path: pretext.Jigsaw, init_args: {grid: 2, permutations: 4}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16, split: {limit: 64}}}
trainer: {max_steps: 2, max_epochs: -1, limit_val_batches: 1, log_every_n_steps: 1, accelerator: cpu}
"""


class Breaks(Rotation):
    """Fails when it is asked to solve: in the first step."""

    def solve(self, features, given):
        raise ValueError("it breaks in the first step")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "video").mkdir(parents=True)
    (tmp_path / "configs" / "video" / "tiny.yaml").write_text(TINY)
    return tmp_path


FIT = ("fit", "-c", "configs/video/tiny.yaml")


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if "configs" not in file.parts)


@pytest.mark.parametrize(
    "words",
    [
        ("--model.backbone.axes", "t"),  # no network for images
        ("--data.split.limit", "-3"),  # no data
        ("--model.tasks.broken", "test_run_folder.Breaks"),  # no step
        ("--trainer.fast_dev_run", "true"),  # a trial
    ],
)
def test_a_start_that_takes_no_step_leaves_nothing(home, words):
    assert main([*FIT, *words]) == (0 if "true" in words else 1)
    assert files(home) == []


def test_runs_are_numbered_or_named_and_listed(home, capsys):
    assert main([*FIT]) == 0
    assert main([*FIT, "--name", "small", "--trainer.max_steps", "1"]) == 0
    assert main([*FIT, "--trainer.max_steps", "1"]) == 0
    runs = home / "runs" / "video" / "tiny"
    assert sorted(run.name for run in runs.iterdir()) == ["0", "1", "small"]
    assert {"config.yaml", "chance.json", "environment.json", "metrics.csv"} <= {f.name for f in (runs / "0").iterdir()}
    config = (runs / "0" / "config.yaml").read_bytes()
    capsys.readouterr()
    assert main([*FIT, "--name", "small"]) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main(["fit", "runs/video/tiny/0", "--trainer.max_steps", "3"]) == 0
    assert (runs / "0" / "config.yaml").read_bytes() == config.replace(b"max_steps: 2", b"max_steps: 3")
    capsys.readouterr()
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"runs/video/tiny/{name}" for name in ("small", "1", "0")]
    assert "step 3" in lines[-1]
    assert size(sum(file.stat().st_size for file in (runs / "0").rglob("*") if file.is_file())) in lines[-1]
    assert "turn, shuffle · val/turn/accuracy " in lines[-1]
    assert main(["runs", "runs/video/none"]) == 1


@pytest.mark.parametrize("name", ["3", "a/b", ".."])
def test_a_name_is_a_word(home, name, capsys):
    assert main([*FIT, "--name", name]) == 1
    assert f"--name {name}" in capsys.readouterr().err


def test_a_run_that_goes_on_takes_no_other_name(home, capsys):
    assert main(["fit", "runs", "--name", "small"]) == 1
    assert main([*FIT, "--name", "small", "--trainer.default_root_dir", "here"]) == 1
    assert "both say where the run goes" in capsys.readouterr().err


class TestFolder:
    def test_who_starts_at_once_gets_another_number(self, home):
        config = "configs/video/tiny.yaml"
        first, second, third = RunFolder(), RunFolder(), RunFolder()
        assert first.fresh(None, config, None) == Path("runs/video/tiny/0")
        assert second.fresh(None, config, None) == Path("runs/video/tiny/1")
        first.give_back()
        assert third.fresh(None, config, None) == Path("runs/video/tiny/0")
        second.give_back()
        third.give_back()
        assert files(home) == []

    def test_a_number_that_is_made_is_not_given_again(self, home):
        first, second = RunFolder(), RunFolder()
        first.fresh(None, "a.yaml", None).mkdir()
        first.give_back()
        assert second.fresh(None, "a.yaml", None) == Path("runs/a/1")
        second.give_back()
        assert files(home) == ["runs", "runs/a", "runs/a/0"]

    def test_audio_and_video_have_folders_of_their_own(self):
        assert home_of("configs/audio/arrow_of_time.yaml") == Path("runs/audio/arrow_of_time")
        assert home_of("configs/video/arrow_of_time.yaml") == Path("runs/video/arrow_of_time")

    def test_a_run_of_release_0_1_goes_on_where_it_is(self, home):
        old = home / "runs" / "tiny" / "0"
        old.mkdir(parents=True)
        (old / "config.yaml").write_text(TINY)
        assert RunFolder().begun(None, "configs/video/tiny.yaml") == Path("runs/tiny/0")
        assert RunFolder().begun(None, "configs/video/other.yaml") is None


class Look(pl.Callback):
    """Notes at each step what step the checkpoint is of, or none."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *rest):
        file = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        self.seen.append(torch.load(file, weights_only=True)["global_step"] if file.exists() else None)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, [None, None, None, None, 4, 4, 4, 4]),  # an epoch has 4 steps
        ({"every_n_epochs": None}, [None] * 8),
        ({"every_n_epochs": 2}, [None] * 8),
        ({"every_n_epochs": None, "every_n_minutes": 1e-9}, [None, 1, 1, 3, 3, 5, 5, 7]),
        ({"every_n_epochs": None, "every_n_minutes": 60.0}, [None] * 8),
    ],
)
def test_saved_after_epochs_and_minutes(tmp_path, options, seen):
    look, options = Look(), {"every_n_steps": 1000, **options}
    trainer = pl.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path, callbacks=[Checkpoint(**options), look], limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(Pretrainer(TinyNet(), {"turn": Rotation}), batches(), batches(1))
    assert look.seen == seen


@pytest.mark.parametrize("bad", [{"every_n_steps": 0}, {"every_n_epochs": 0}, {"every_n_minutes": 0.0}])
def test_an_interval_is_positive(bad):
    with pytest.raises(ValueError, match=f"Checkpoint: {next(iter(bad))}=.* must be positive"):
        Checkpoint(**bad)
