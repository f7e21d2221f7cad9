"""Jobs whose results are files: each is done once, failures are noted, and what shows results cannot stop the work."""

import json
import multiprocessing
import time
from functools import partial

import pytest
from filelock import FileLock

from pretext.jobs.files import FileJob, finish, held, notify, once, read_result


def job(folder, log, number):
    def run():
        log.append(number)
        if number == 2:
            raise ValueError("two\nis odd")
        return {"number": number}

    return FileJob(f"job {number}", folder / f"{number}.json", run, lambda reason: {"failed": reason})


def test_each_is_done_once_and_a_failure_is_noted_and_tried_again_by_the_next_process(tmp_path, capsys):
    log, shown = [], []
    finish([1, 2, 3], partial(job, tmp_path, log), lambda: shown.append(len(log)), "bench")
    assert log == shown == [1, 2, 3]
    assert [read_result(tmp_path / f"{n}.json") for n in (1, 2)] == [
        {"number": 1},
        {"failed": "ValueError: two is odd"},
    ]
    assert read_result(tmp_path / "4.json") is None
    assert "bench: job 2 failed: ValueError: two is odd\n" in capsys.readouterr().err
    finish([1, 2, 3], partial(job, tmp_path, log), lambda: None, "bench")
    assert log == [1, 2, 3, 2]


def test_a_job_whose_needs_others_are_making_comes_after_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("pretext.jobs.files.PAUSE", 0.01)
    log = []

    def made(number):
        return job(tmp_path, log, number)._replace(waits=lambda: number == 1 and 3 not in log)

    finish([1, 3], made, lambda: None, "bench")
    assert log == [3, 1]


def test_a_lock_is_held_until_it_is_given_back(tmp_path):
    lock = tmp_path / "deep" / "a.lock"
    assert not held(lock)
    with FileLock(lock):
        assert held(lock)
    assert not held(lock)


def test_a_job_that_comes_right_leaves_no_note_of_its_failure(tmp_path):
    broken = FileJob("job", tmp_path / "a.json", lambda: 1 / 0, lambda reason: {"failed": reason})
    finish([broken], lambda job: job, lambda: None, "bench")
    finish([broken._replace(run=lambda: {"right": 1})], lambda job: job, lambda: None, "bench")
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", "a.lock"}
    assert read_result(tmp_path / "a.json") == {"right": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_asking_a_process_to_stop_is_no_failure(tmp_path, error):
    def asked():
        raise error

    stopped = FileJob("job", tmp_path / "a.json", asked, lambda reason: {"failed": reason})
    with pytest.raises(error):
        finish([stopped], lambda job: job, lambda: None, "bench")
    assert read_result(tmp_path / "a.json") is None
    FileLock(tmp_path / "a.lock", timeout=0).acquire().lock.release()  # free for the next


def test_what_shows_results_cannot_stop_the_work(tmp_path, capsys):
    def broken():
        raise OSError("disk full")

    log = []
    finish([1, 3], partial(job, tmp_path, log), broken, "bench")
    assert log == [1, 3]
    assert capsys.readouterr().err.count("bench: the results could not be shown: OSError: disk full\n") == 2
    with pytest.raises(KeyboardInterrupt):
        notify(lambda: (_ for _ in ()).throw(KeyboardInterrupt), "bench")


def test_the_name_of_a_file_is_asked_for_when_its_turn_comes(tmp_path):
    """As a config that it depends on may have been edited meanwhile."""
    names, log = ["a", "b"], []

    def run(unit):
        names[1] = "changed"
        log.append(unit)
        return {}

    def made(unit):
        return FileJob(str(unit), tmp_path / f"{names[unit]}.json", partial(run, unit), dict)

    finish([0, 1], made, lambda: None, "bench")
    assert log == [0, 1]
    assert {file.name for file in tmp_path.glob("*.json")} == {"a.json", "changed.json"}


def hold(file, held, done):
    with FileLock(file.with_suffix(".lock")):
        held.set()
        assert done.wait(60)
        file.write_text(json.dumps({"by": "the other"}))


def test_what_another_process_works_on_is_left_to_it_and_waited_for(tmp_path):
    fork = multiprocessing.get_context("spawn")
    held, done = fork.Event(), fork.Event()
    file, log = tmp_path / "2.json", []
    other = fork.Process(target=hold, args=(file, held, done))
    other.start()
    try:
        assert held.wait(60)
        finish([2, 3], partial(job, tmp_path, log), done.set, "bench")  # it is let go when 3 is done
        assert log == [3]
        assert read_result(file) == {"by": "the other"}
    finally:
        done.set()
        other.join()


def test_once_makes_a_file_once(tmp_path):
    made = []
    for _ in range(2):
        content = once(tmp_path / "new" / "a.json", lambda: made.append(time.time()) or {"x": [1]}, tmp_path / "a.lock")
        assert content == {"x": [1]}
    assert len(made) == 1
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]
