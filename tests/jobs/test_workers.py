"""Workers as real processes on one study, some of them killed: no candidate is lost, none is run to its end twice."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
from forked import call, ended
from hanging import COUNT, FIXED, work_as

from pretext.jobs.study import open_study
from pretext.search.study import read


class Worker(NamedTuple):
    """A process, and the file with what it says."""

    process: BaseProcess
    said: Path

    def result(self):
        """Wait for its end; return how many candidates it ran, as it says."""
        assert ended(self.process) == 0, self.said.read_text()
        return int(self.said.read_text())


class Workers:
    """Processes on one study, and what they noted."""

    def __init__(self, url, folder, searched="random"):
        self.url, self.log, self.searched, self.started = url, folder / f"{searched}.jsonl", searched, []

    def start(self, role):
        said = self.log.with_suffix(f".{len(self.started)}")
        process = call(said, work_as, self.url, self.searched, str(self.log), role)
        self.started.append(Worker(process, said))
        return self.started[-1]

    def notes(self, what):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [note for note in map(json.loads, lines) if note[0] == what]

    def kill_as_it_hangs(self, worker):
        until(lambda: self.notes("hang") or not worker.process.is_alive())
        assert worker.process.is_alive(), worker.said.read_text()
        worker.process.kill()
        assert ended(worker.process) == -signal.SIGKILL

    def study(self):
        return open_study(self.url, self.searched, list, {"steps": 30}, None, heartbeat=1)

    def stop(self):
        for worker in self.started:
            worker.process.kill()
            worker.process.join()


def until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def workers(tmp_path):
    made = []

    def make(url, searched="random"):
        made.append(Workers(url, tmp_path, searched))
        return made[-1]

    yield make
    for group in made:
        group.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a server of PostgreSQL of our own, reached by a socket in a folder only."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if not found:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install pretext[postgresql]")
    tools = found[-1].parent
    folder = Path(f"/tmp/pretext-postgresql-{os.getpid()}")  # short: a socket's path has room for 107 characters
    folder.mkdir(mode=0o700)
    root = os.geteuid() == 0  # as whom PostgreSQL refuses to run
    if root:
        shutil.chown(folder, "postgres", "postgres")
    user = "postgres" if root else pwd.getpwuid(os.geteuid()).pw_name

    def call(*command):
        answer = subprocess.run(command, user="postgres" if root else None, cwd="/", capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr

    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=30"
    try:
        call(tools / "initdb", "-D", folder / "data", "-A", "trust", "-U", user, "--no-sync", "-E", "UTF8")
        call(tools / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", "-o", options, "start")
        try:
            yield lambda name: (
                call(tools / "createdb", "-h", folder, "-U", user, name),
                f"postgresql://{user}@/{name}?host={folder}",
            )[1]
        finally:
            call(tools / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request, tmp_path):
    """Give the URL of an empty database."""
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path}/new/study.db"
    return request.getfixturevalue("server")(f"study{time.monotonic_ns()}")


def test_a_killed_workers_candidate_is_taken_up_and_none_is_lost_or_repeated(database, workers):
    """Two studies in one database at once, since most of the time is waiting for the dead."""
    groups = [workers(database, searched) for searched in ("random", "cmaes")]
    pairs = [(group.start("victim"), group.start("survivor")) for group in groups]  # at once, on an empty database
    for group, (victim, _) in zip(groups, pairs, strict=True):
        group.kill_as_it_hangs(victim)
    for group, (_, survivor) in zip(groups, pairs, strict=True):
        assert survivor.result() == COUNT - sum(role == "victim" for *_, role in group.notes("end"))
        check_that_all_ran_to_the_end_once(group)
        ((_, lost, weights, _),) = group.notes("hang")
        candidates = read(group.study())
        assert [c.tries for c in candidates] == [2 if c.index == lost else 1 for c in candidates]
        assert candidates[lost].weights == weights


def check_that_all_ran_to_the_end_once(group):
    assert Counter(index for _, index, _, _ in group.notes("end")) == dict.fromkeys(range(COUNT), 1)
    candidates = read(group.study())
    assert [(c.index, c.state) for c in candidates] == [(index, "done") for index in range(COUNT)]
    assert [c.control for c in candidates[:FIXED]] == ["jigsaw alone", "all equal"]
    noted = {index: weights for _, index, weights, _ in group.notes("end")}
    assert all(c.weights == noted[c.index] for c in candidates)
    assert len({tuple(c.weights.values()) for c in candidates}) == COUNT  # nobody draws what another drew


def test_a_study_goes_on_when_all_its_workers_have_died(tmp_path, workers):
    group = workers(f"sqlite:///{tmp_path}/new/study.db")
    victims = [group.start("victim") for _ in range(2)]
    until(lambda: len(group.notes("hang")) == 2 or not all(victim.process.is_alive() for victim in victims))
    for victim in victims:
        group.kill_as_it_hangs(victim)
    assert group.start("alone").result() == COUNT - FIXED  # the victims had run the controls
    check_that_all_ran_to_the_end_once(group)
    hung = {index: weights for _, index, weights, _ in group.notes("hang")}
    assert len(hung) == 2
    assert {c.index: c.weights for c in read(group.study()) if c.tries == 2} == hung


def test_four_workers_that_start_at_once_share_the_candidates(database, workers):
    group = workers(database)
    workers = [group.start("alone") for _ in range(4)]
    assert sum(worker.result() for worker in workers) == COUNT
    check_that_all_ran_to_the_end_once(group)
    assert [c.tries for c in read(group.study())] == [1] * COUNT
