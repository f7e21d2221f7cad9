"""metrics.csv: a kill at any moment leaves what was written, and a resumed run goes on with it."""

import csv
import errno
from pathlib import Path

import pytest

from pretext.core.threads import told_in_a_line
from pretext.training.callbacks import Board, History


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def logged(folder, steps, resumed_at=0, column="loss"):
    history = History(str(folder), resumed_at)
    for step in steps:
        history.log_metrics({column: step / 3, "epoch": 0}, step)
    history.save()
    return history


def row(step, column="loss"):
    return {column: repr(step / 3), "epoch": "0", "step": str(step)}


def test_rows_before_the_step_that_a_run_goes_on_from_stay_and_later_ones_are_written_anew(tmp_path):
    logged(tmp_path, range(5))
    logged(tmp_path, [3, 4, 5], resumed_at=3)
    assert rows(tmp_path) == [row(step) for step in range(6)]


def test_a_run_that_is_killed_before_it_has_written_anything_keeps_what_was_written_before(tmp_path):
    logged(tmp_path, range(5))
    assert History(str(tmp_path), 5).experiment.metrics == []  # begun, and then killed
    assert rows(tmp_path) == [row(step) for step in range(5)]


def test_a_row_that_a_kill_cut_short_is_none(tmp_path):
    logged(tmp_path, range(5))
    file = tmp_path / "metrics.csv"
    whole = file.read_bytes()
    last = len(whole[: whole.rstrip().rfind(b"\n") + 1])
    for length in range(last, len(whole)):
        file.write_bytes(whole[:length])
        logged(tmp_path, [4], resumed_at=4)
        assert rows(tmp_path) == [row(step) for step in range(5)], length


def test_new_columns_keep_the_rows_that_lack_them(tmp_path):
    history = logged(tmp_path, range(2))
    history.log_metrics({"accuracy": 0.5}, 2)
    history.save()
    assert rows(tmp_path) == [row(0), row(1), {"accuracy": "0.5", "step": "2"}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_full_disk_leaves_the_rows_that_were_there(tmp_path, monkeypatch):
    history = logged(tmp_path, range(2))
    history.log_metrics({"accuracy": 0.5}, 2)

    def full(*unused):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        history.save()
    assert rows(tmp_path) == [row(0), row(1)]


def test_only_a_checkpoint_waits_for_the_disk(tmp_path, monkeypatch):
    history, waited = logged(tmp_path, range(2)), []
    monkeypatch.setattr("os.fsync", lambda file: waited.append(rows(tmp_path)))
    history.log_metrics({"loss": 1.0}, 2)
    history.save()
    assert len(rows(tmp_path)) == 3  # there for all to read, and for a training that is killed
    assert not waited
    for _ in range(2):
        history.sync()
    assert waited == [rows(tmp_path)]


def test_a_run_that_begins_anew_has_no_rows_of_an_earlier_one(tmp_path):
    logged(tmp_path, range(5))
    logged(tmp_path, [0])
    assert rows(tmp_path) == [row(0)]


def test_a_full_disk_under_tensorboard_is_told_as_it_is(tmp_path):
    """`/dev/full` is a disk without room; the board's own thread meets it first, then whoever logs."""
    board = Board(str(tmp_path))
    board.begun = True
    records = board.experiment.file_writer.event_writer._async_writer._writer
    with Path("/dev/full").open("wb", buffering=0) as full, told_in_a_line():
        records._writer = full
        with pytest.raises(OSError, match="No space left on device") as told:  # noqa: PT012  # in which step is chance
            for step in range(100_000):
                board.log_metrics({"loss": 1.0}, step)
    assert told.value.errno == errno.ENOSPC
