"""The run's metrics: a CSV that a resumed run continues and a kill at any moment leaves whole, and TensorBoard's."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from pretext.core.files import write_whole

Row = dict[str, Any]


class History(CSVLogger):
    """Lightning's CSV logger that writes `metrics.csv` straight into the run and loses nothing on resume.

    Lightning deletes the file of an earlier start, and has its rows in memory alone until it writes again. Here the
    rows before step `resumed_at` stay where they are; later ones are dropped, since the resumed run writes them again.
    """

    def __init__(self, run: str, resumed_at: int = 0, waits: bool = False) -> None:
        super().__init__(run, name="", version="")
        self._resumed_at = resumed_at
        self.begun = not waits
        """Whether training has begun; before, nothing is made where the logger `waits` for that (see `Record`)."""

    def save(self) -> None:
        if self._experiment is not None:
            super().save()

    def sync(self) -> None:
        """Wait until what was saved is on the disk."""
        if isinstance(self._experiment, _Rows):
            self._experiment.sync()

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if not self.begun:
            return Nothing()  # type: ignore[return-value]
        if self._experiment is None:
            self._experiment = _Rows(self.log_dir, self._resumed_at)
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

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log as Lightning does, which says of a full disk that a number cannot be logged; that is told as it is."""
        try:
            super().log_metrics(metrics, step)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise

    def save(self) -> None:
        if self._experiment is not None:
            super().save()


class Nothing:
    """What a logger is asked for before training has begun; it takes every call, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


@final
class _Rows(ExperimentWriter):
    """Appends rows; where the columns change, the file is written anew, whole or not at all."""

    def __init__(self, folder: str, resumed_at: int) -> None:
        super().__init__(folder)
        self._file = Path(self.metrics_file_path)
        self._loose = False  # whether there are rows that may not be on the disk yet
        kept = _rows_before(self._file, resumed_at)
        if kept:
            self.metrics_keys = sorted(set().union(*kept))
            write_whole(self._file, _table(self.metrics_keys, kept))
        else:
            self._file.unlink(missing_ok=True)

    def _check_log_dir_exists(self) -> None:
        """Lightning's would delete the metrics of an earlier start."""

    def save(self) -> None:
        if not self.metrics:
            return
        if self._record_new_keys() or not self._file.exists():
            earlier = _read(self._file) if self._file.exists() else []
            write_whole(self._file, _table(self.metrics_keys, [*earlier, *self.metrics]))
        else:
            with self._file.open("ab") as file:
                file.write(_lines(self.metrics_keys, self.metrics))
            self._loose = True
        self.metrics = []

    def sync(self) -> None:
        """Bring the rows to the disk, for which a step that is only logged does not wait."""
        if self._loose:
            with self._file.open("rb+") as file:
                os.fsync(file.fileno())
            self._loose = False


def _rows_before(file: Path, step: int) -> list[Row]:
    """Read the rows that a run resumed at a step does not write again."""
    if step == 0 or not file.exists():
        return []
    return [row for row in _read(file) if int(row["step"]) < step]


def _read(file: Path) -> list[Row]:
    """Read all whole rows, as text; of a last one that a kill cut short nothing is known."""
    text = file.read_bytes().decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1]
    return [
        {key: value for key, value in row.items() if value} for row in csv.DictReader(io.StringIO(whole, newline=""))
    ]


def _table(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Write a header and rows."""
    return _lines(columns, [dict(zip(columns, columns, strict=True)), *rows])


def _lines(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.DictWriter(text, fieldnames=columns).writerows(rows)
    return text.getvalue().encode()
