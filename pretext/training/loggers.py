"""Loggers of a user's own, such as W&B's and MLflow's: one run there for one run here, and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from pretext.core.files import write_json
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows, puzzles

FILE = "loggers.json"
IDS = {"WandbLogger": "id", "MLFlowLogger": "run_id"}
"""Of loggers that keep runs somewhere else: the argument by which they go on with one."""
COUNT = 6  # puzzles of each task in a picture

Paint = Callable[[Mapping[str, Rows], Path], None]
"""Paints drawings by task into a PNG file."""


@contextmanager
def going_on(loggers: Any, run: Path) -> Iterator[None]:
    """Let loggers, as a config describes them, go on with what they began for a run, while they are built.

    The config itself stays as it was: who starts anew from it begins a run of his own there too.
    """
    known = json.loads((run / FILE).read_text(encoding="utf-8")) if (run / FILE).is_file() else {}
    changed = []
    for place, logger in enumerate(loggers if isinstance(loggers, list) else [loggers]):
        name = str(getattr(logger, "class_path", "")).rpartition(".")[2]
        args, saved = getattr(logger, "init_args", None), known.get(f"{place} {name}")
        if name in IDS and saved and args is not None and args.get(IDS[name]) is None:
            args[IDS[name]] = saved
            changed.append((args, IDS[name]))
    try:
        yield
    finally:
        for args, key in changed:
            args[key] = None


class Elsewhere(pl.Callback):
    """Note what runs loggers keep for a run, and hand them a picture of its puzzles at the end of training.

    Args:
        loggers: a user's own.
        paint: paints the picture; none: there is none.

    """

    def __init__(self, loggers: Sequence[Logger], paint: Paint | None) -> None:
        self.loggers, self.paint = loggers, paint
        self._noted = False

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if self._noted or trial or not trainer.is_global_zero:
            return
        self._noted = True
        named = [(place, type(logger).__name__, logger) for place, logger in enumerate(self.loggers)]
        ids = {f"{place} {name}": str(logger.version) for place, name, logger in named if name in IDS}
        if ids:
            write_json(Path(trainer.default_root_dir) / FILE, ids)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        data = getattr(trainer, "datamodule", None)
        if self.paint is None or trial or not trainer.is_global_zero or not isinstance(pl_module, Pretrainer):
            return
        if data is None or (first := next(iter(data.val_dataloader()), None)) is None:
            return
        file = Path(trainer.default_root_dir) / "puzzles.png"
        self.paint(puzzles(pl_module, first, COUNT, trained=True), file)
        for logger in self.loggers:
            hand_picture(logger, file)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End a run of W&B's, or the next training of this process would go on with it."""
        if stage == "fit" and trainer.is_global_zero:
            boards: list[Any] = [logger for logger in self.loggers if type(logger).__name__ == "WandbLogger"]
            for board in boards:
                board.experiment.finish()


def hand_picture(logger: Logger, file: Path) -> None:
    """Hand a picture to a logger of W&B's, MLflow's or TensorBoard's kind; others take none."""
    board: Any = logger
    experiment = board.experiment  # of the service's own type
    if hasattr(logger, "log_image"):
        logger.log_image(key="puzzles", images=[str(file)])
    elif hasattr(experiment, "log_artifact"):
        experiment.log_artifact(logger.version, str(file), "puzzles")
    elif hasattr(experiment, "add_image"):
        from matplotlib.image import imread

        experiment.add_image("puzzles", imread(file), dataformats="HWC")
