"""Jobs that each leave a file, shared by processes of one machine.

A lock holds each job while somebody works on it. The operating system frees the locks of a process that is killed, so
nothing has to be cleaned up, and the same command goes on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from filelock import FileLock, Timeout

from pretext.core.files import write_json
from pretext.core.stop import STOP

PAUSE = 2.0  # seconds between looks at jobs that other processes work on
T = TypeVar("T")


class FileJob(NamedTuple):
    """A unit of work whose result is a file."""

    label: str
    """What is printed when it begins or fails."""
    file: Path
    """Where its result goes; named by all that it depends on (`key_of`)."""
    run: Callable[[], Any]
    """Gives its result, as plain data."""
    failure: Callable[[str], Any]
    """Gives what to note instead where it failed, from the reason."""
    waits: Callable[[], bool] = lambda: False
    """Tells whether others are making what it needs: then other jobs come first."""

    @property
    def failed_file(self) -> Path:
        """Where is noted why it failed; the job is tried again by the next process."""
        return self.file.with_suffix(".failed")


def finish(units: Iterable[T], job_of: Callable[[T], FileJob], after: Callable[[], None], who: str) -> None:
    """Finish every unit's job, but leave to other processes what they work on, and wait for them.

    A job that fails is noted with its reason, and this process does not try it again.

    Args:
        units: what there is to do.
        job_of: makes a unit's job when its turn comes, so that the file has the name of what is true then.
        after: is called when this process has finished a job; what it raises does not stop the work.
        who: stands before each line that is printed.

    """
    waiting = list(units)
    while waiting:
        busy = []
        for unit in waiting:
            STOP.check()  # a job that failed since this process was asked to go is left to the next one
            job = job_of(unit)
            job.file.parent.mkdir(parents=True, exist_ok=True)
            if not job.file.exists() and job.waits():
                busy.append(unit)
                continue
            try:
                with FileLock(job.file.with_suffix(".lock"), timeout=0):
                    if not job.file.exists():
                        print(f"{who}: {job.label}", file=sys.stderr, flush=True)
                        _attempt(job, who)
                        notify(after, who)
            except Timeout:
                busy.append(unit)
        waiting = busy
        time.sleep(PAUSE if busy else 0)


def _attempt(job: FileJob, who: str) -> None:
    """Run a job; where that fails, note why."""
    try:
        write_json(job.file, job.run())
        job.failed_file.unlink(missing_ok=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{who}: {job.label} failed: {reason}", file=sys.stderr, flush=True)
        write_json(job.failed_file, job.failure(reason))


def read_result(file: Path) -> Any:
    """Read the result of a job from its file, or what was noted where it failed; None if there is neither."""
    there = next((f for f in (file, file.with_suffix(".failed")) if f.exists()), None)
    return None if there is None else json.loads(there.read_text(encoding="utf-8"))


def once(file: Path, make: Callable[[], Any], lock: Path | None = None) -> Any:
    """Return what a file holds, as plain data; make it if it is not there, while others that want it wait.

    `lock` is the file of the lock, by default beside `file`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock or file.with_suffix(".lock")):
        if not file.exists():
            write_json(file, make())
    return json.loads(file.read_text(encoding="utf-8"))


def held(lock: Path) -> bool:
    """Tell whether somebody holds a lock."""
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def notify(after: Callable[[], None], who: str) -> None:
    """Call what shows the results so far; what is wrong with it is printed and must not stop the work."""
    try:
        after()
    except Exception as error:
        print(f"{who}: the results could not be shown: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
