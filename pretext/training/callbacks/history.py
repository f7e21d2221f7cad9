"""The run's metrics: a CSV file that a resumed run continues, and TensorBoard's."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class History(CSVLogger):
    """Lightning's CSV logger that writes `metrics.csv` straight into the run and loses nothing on resume.

    Lightning deletes the file of an earlier start. Here the rows before step `resumed_at` stay; later ones are dropped,
    since the resumed run writes them again.
    """

    def __init__(self, run: str, resumed_at: int = 0, waits: bool = False) -> None:
        super().__init__(run, name="", version="")
        self._kept = _rows_before(Path(run) / "metrics.csv", resumed_at)
        self.begun = not waits
        """Whether training has begun; before, nothing is made where the logger `waits` for that (see `Record`)."""

    def save(self) -> None:
        if self._experiment is not None:
            super().save()

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if not self.begun:
            return Nothing()  # type: ignore[return-value]
        if self._experiment is None:
            with warnings.catch_warnings():
                # It would delete the metrics of an earlier start; those that count were read and are kept.
                warnings.filterwarnings("ignore", "Experiment logs directory", UserWarning)
                self._experiment = ExperimentWriter(log_dir=self.log_dir)
            self._experiment.metrics = self._kept
        return self._experiment  # type: ignore[return-value]  # the base class types it as Fabric's


class Board(TensorBoardLogger):
    """Lightning's TensorBoard logger, which writes straight into the run, and makes nothing before training has begun.

    (Lightning asks every logger for its experiment before it looks at the data, and that makes the folder.)
    """

    def __init__(self, run: str, resumed_at: int | None = None) -> None:
        super().__init__(run, name="", version="", purge_step=resumed_at)
        self.begun = False
        """Whether training has begun."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        return super().experiment if self.begun else Nothing()

    def save(self) -> None:
        if self._experiment is not None:
            super().save()


class Nothing:
    """What a logger is asked for before training has begun; it takes every call, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def _rows_before(file: Path, step: int) -> list[dict[str, float]]:
    if step == 0 or not file.exists():
        return []
    with file.open(newline="") as lines:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines)]
    # Steps and epochs are whole numbers; everything else is a measure.
    return [{k: int(v) if k in ("step", "epoch") else v for k, v in row.items()} for row in rows if row["step"] < step]
