"""Loggers of one's own beside our history: TensorBoard's, and W&B's and MLflow's where installed, offline."""

import json
from csv import DictReader
from importlib.util import find_spec
from pathlib import Path

import pytest
from jsonargparse import Namespace

from pretext.__main__ import main
from pretext.training.loggers import FILE, going_on

TINY = """
model:
  backbone: {class_path: nets.TinyNet}
  tasks: {turn: {class_path: pretext.Rotation}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16, split: {limit: 64}}}
trainer: {max_steps: 2, max_epochs: -1, limit_val_batches: 1, log_every_n_steps: 1, accelerator: cpu}
"""


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)

    def with_logger(kind, **options):
        words = [word for key, value in options.items() for word in (f"--trainer.logger.{key}", str(value))]
        logger = ["--trainer.logger", f"pytorch_lightning.loggers.{kind}", *words]
        assert main(["fit", "-c", "tiny.yaml", *logger]) == 0
        before = Path("runs/tiny/0/config.yaml").read_text()
        assert main(["fit", "runs/tiny/0", "--trainer.max_steps", "4"]) == 0
        assert Path("runs/tiny/0/config.yaml").read_text() == before.replace("max_steps: 2", "max_steps: 4")
        with Path("runs/tiny/0/metrics.csv").open() as history:
            assert [row["step"] for row in DictReader(history) if row["train/loss"]] == ["0", "1", "2", "3"]
        assert Path("runs/tiny/0/puzzles.png").is_file()
        return Path("runs/tiny/0")

    return with_logger


def test_tensorboard_gets_the_curves_and_the_picture(fit):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit("TensorBoardLogger", save_dir="board", name="mine", version="one")
    events = EventAccumulator("board/mine/one").Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2, 3]
    assert events.Tags()["images"] == ["puzzles"]


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: pip install 'pretext-tasks[wandb]'")
@pytest.mark.filterwarnings("ignore")  # of another project's
def test_wandb_goes_on_with_the_same_run_and_gets_the_picture(fit):
    run = fit("WandbLogger", offline="true", save_dir=".", project="tiny")
    (name,) = json.loads((run / FILE).read_text()).values()
    offline = list(Path("wandb").glob("offline-run-*"))  # offline, each start has files of its own; they are of one run
    assert {folder.name.rpartition("-")[2] for folder in offline} == {name}
    assert len(list(Path("wandb").rglob("media/images/puzzles_*.png"))) == 2


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'pretext-tasks[mlflow]'")
@pytest.mark.filterwarnings("ignore")  # of another project's
def test_mlflow_goes_on_with_the_same_run_and_gets_the_picture(fit):
    run = fit("MLFlowLogger", tracking_uri="sqlite:///mlflow.db", experiment_name="tiny", artifact_location="files")
    from mlflow.tracking import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    (name,) = json.loads((run / FILE).read_text()).values()
    (found,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert found.info.run_id == name
    assert [point.step for point in client.get_metric_history(name, "train/loss")] == [0, 1, 2, 3]
    assert list(Path("files").rglob("puzzles.png"))


class TestGoingOn:
    def logger(self, name, **args):
        return Namespace(class_path=f"pytorch_lightning.loggers.{name}", init_args=Namespace(**args))

    def test_only_while_loggers_are_built(self, tmp_path):
        (tmp_path / FILE).write_text(json.dumps({"0 WandbLogger": "abc", "1 MLFlowLogger": "def"}))
        loggers = [self.logger("wandb.WandbLogger", id=None), self.logger("MLFlowLogger", run_id=None)]
        with going_on(loggers, tmp_path):
            assert [loggers[0].init_args.id, loggers[1].init_args.run_id] == ["abc", "def"]
        assert [loggers[0].init_args.id, loggers[1].init_args.run_id] == [None, None]

    def test_what_a_user_chose_stays_and_so_do_others(self, tmp_path):
        (tmp_path / FILE).write_text(json.dumps({"0 WandbLogger": "abc"}))
        for logger in (self.logger("WandbLogger", id="mine"), self.logger("CSVLogger", id=None), True, None, False):
            with going_on(logger, tmp_path):
                assert getattr(getattr(logger, "init_args", None), "id", "none") in ("mine", None, "none")
