"""What a disk and a clock may do to a training: full, read-only, shared by two writers, an hour that comes twice."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
from schedule import Answer, Clock, Part, Question

from fault_parts.kills import DRAWS, killed
from fault_parts.processes import begin, call, finish, last_lines
from fault_parts.runs import differences, moment, step_of, undisturbed, wait_for, words
from fault_parts.setting import Setting
from pretext.core.runs import CONFIG

ABOUT = "a disk that is full or read-only, two writers, a clock that jumps back"
SIZE = 6  # MiB of the small disk
DAY = 86_400.0
READERS = {  # verbs on a run that nobody may write to -> whether they can do their work
    "validate": True,
    "test": True,
    "show": False,
    "predict": False,
    "probe": False,
    "report": False,
    "export": False,
    "fit": False,
}
MORE = {"export": ["--to", "safetensors"], "probe": ["--protocols", "knn"], "fit": ["--trainer.max_epochs", "9"]}


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [Question(f"full disk {k}", partial(full, setting, k)) for k in range(setting.size(20, 1))]
    asked += [
        Question(f"read-only: {verb}", partial(read_only, setting, verb)) for verb in setting.size([*READERS], [])
    ]
    asked.append(Question("two writers", partial(two_writers, setting)))
    asked += [Question(f"clock {k}", partial(clock_back, setting, k)) for k in range(setting.size(3, 0))]
    return Part("disk", ABOUT, 1.0, lambda: asked, table)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk in memory.

    Raises:
        RuntimeError: this user may not.

    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise RuntimeError("not run: a small disk cannot be mounted here (it takes root)")
    try:
        yield folder
    finally:
        _umount(folder)


def _umount(folder: Path) -> None:
    for _ in range(40):
        if not subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
            return
        time.sleep(0.25)  # a decoder of a process that has just ended may still look at it
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Leave no byte free on a disk."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    filler.write(bytes(size))
    return file


def full(setting: Setting, number: int, clock: Clock, before: Answer) -> Answer:
    """Fill the disk at a random moment of a training; it must end in one line, and go on when there is room.

    Raises:
        AssertionError: it did not, or something was lost.

    """
    whole, took = undisturbed(setting, "pictures")
    chance = np.random.default_rng([setting.seed, 11, number])
    log = setting.out / "disk" / f"full-{number}.txt"
    log.unlink(missing_ok=True)
    with small_disk(setting.out / "disk" / "small") as disk:
        command = words(setting, "pictures", disk / "run", disk / "cache")
        for _ in range(DRAWS):
            process = begin(log, *command)
            lasted = moment(disk / "run", process, took, chance)
            if process.is_alive():
                break
            took = took._replace(steps=lasted or took.steps)  # it ended before the moment: anew
            rmtree(disk / "run")
        filler = fill(disk)
        code = finish(process, log)
        if code:
            one_line(log, os.strerror(errno.ENOSPC), "bytes are free there")
        at = step_of(disk / "run")
        filler.unlink()
        if again := call(log, *command):
            raise AssertionError(f"it could not go on ({again}): {last_lines(log)}")
        if odd := differences(whole, disk / "run"):
            raise AssertionError(f"seed {setting.seed}, full at step {at}: {'; '.join(odd)}")
        drafts = [file.name for file in disk.rglob(".*.draft")]
    if drafts:
        raise AssertionError(f"left behind: {drafts}")
    return {"exit code": code, "resumed from": at, "same": True, "said": told(log) if code else "nothing: it was done"}


def one_line(log: Path, *any_of: str) -> None:
    """Refuse what a process said unless it ended with one line that says why.

    Raises:
        AssertionError: it did not.

    """
    text = log.read_text(errors="replace")
    last = text.strip().splitlines()[-1] if text.strip() else ""
    if "Traceback" in text or not last.startswith("pretext ") or not any(word in last for word in any_of):
        raise AssertionError(f"it was not told in one line: {text[-1500:]}")


def told(log: Path) -> str:
    """Return the line that a verb ended with."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("pretext ")]
    return lines[-1] if lines else ""


def read_only(setting: Setting, verb: str, clock: Clock, before: Answer) -> Answer:
    """Call a verb on a run that nobody can write to: it does its work, or says in one line that it cannot.

    Raises:
        AssertionError: neither.

    """
    whole, _ = undisturbed(setting, "pictures")
    folder, log = setting.out / "disk" / "frozen", setting.out / "disk" / f"read-only-{verb}.txt"
    log.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "--bind", str(whole), str(folder)], capture_output=True, check=False).returncode
    if made or subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=False).returncode:
        raise RuntimeError("not run: nothing can be mounted here (it takes root)")
    try:
        code = call(log, verb, folder, *MORE.get(verb, []))
    finally:
        _umount(folder)
    if code:
        one_line(log, "Read-only file system", "read-only")
    if READERS[verb] and code:
        raise AssertionError(f"it needs to write nothing: {last_lines(log)}")
    return {"exit code": code, "said": told(log) if code else "did its work"}


def two_writers(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train one run twice at a time: the second one is refused, the first one is not disturbed.

    Raises:
        AssertionError: it was not refused in one line, or the first one differs.

    """
    whole, _ = undisturbed(setting, "pictures")
    home = setting.out / "disk" / "shared"
    rmtree(home, ignore_errors=True)
    command = words(setting, "pictures", home / "run", home / "cache")
    first = begin(home / "first.txt", *command)
    wait_for(home / "run" / CONFIG, first)
    if not first.is_alive():
        raise AssertionError(f"the first one did not last: {last_lines(home / 'first.txt')}")
    os.kill(int(first.pid or 0), signal.SIGSTOP)  # or it might end before the second one begins
    try:
        said = [_refused(home / f"second-{k}.txt", again) for k, again in enumerate((command, ["fit", home / "run"]))]
    finally:
        os.kill(int(first.pid or 0), signal.SIGCONT)
    if code := finish(first, home / "first.txt"):
        raise AssertionError(f"the first one ended with {code}: {last_lines(home / 'first.txt')}")
    if odd := differences(whole, home / "run"):
        raise AssertionError(f"the first one differs: {'; '.join(odd)}")
    return {"exit code": 1, "same": True, "said": said[0].replace(str(home), "")}


def _refused(log: Path, again: Sequence[object]) -> str:
    """Call the command line, and return the line by which it refuses to write.

    Raises:
        AssertionError: it does not, or in other words.

    """
    code = call(log, *again)
    one_line(log, "another process is training")
    if code != 1:
        raise AssertionError(f"exit code {code}")
    return told(log)


def clock_back(setting: Setting, number: int, clock: Clock, before: Answer) -> Answer:
    """Begin a training tomorrow, kill it, and go on yesterday, with a clock that jumps back on the way too.

    Raises:
        AssertionError: something was lost.

    """
    whole, took = undisturbed(setting, "pictures")
    home = setting.out / "disk" / f"clock-{number}"
    rmtree(home, ignore_errors=True)
    run, log, chance = home / "run", home / "log.txt", np.random.default_rng([setting.seed, 12, number])
    command = words(setting, "pictures", run, home / "cache")
    at = killed(command, run, log, "KILL", chance, took, partial(jumping, DAY))
    for file in [*run.rglob("*"), *(home / "cache").rglob("*")]:
        os.utime(file, (time.time() + DAY,) * 2)
    code = finish(begin(log, *command, before=partial(jumping, -DAY)), log)
    if code:
        raise AssertionError(f"it could not go on ({code}): {last_lines(log)}")
    if odd := differences(whole, run):
        raise AssertionError(f"seed {setting.seed}, resumed from {at}: {'; '.join(odd)}")
    return {"exit code": 0, "resumed from": at, "same": True, "said": "did its work"}


def jumping(offset: float) -> None:
    """Let this process's `time.time` be off by some seconds, and jump back by a day at every second look at it."""
    true, true_ns, looks = time.time, time.time_ns, [0]

    def shift() -> float:
        looks[0] += 1
        return offset - DAY * (looks[0] % 2)

    time.time = lambda: true() + shift()
    time.time_ns = lambda: true_ns() + int(shift() * 1e9)


def table(answers: dict[str, Answer]) -> list[str]:
    """Say what each was answered with, equal ones together."""
    lines = ["| what | times | exit code | went on, bit for bit equal | said |", "|---|---|---|---|---|"]
    groups: dict[tuple[str, object, str], list[Answer]] = {}
    for name, answer in answers.items():
        kind = name if name.startswith("read-only") else name.rstrip("0123456789 ")
        said = str(answer.get("said", answer.get("error", "")))
        said = "no space" if "No space left" in said or "bytes are free" in said else said
        groups.setdefault((kind, answer.get("exit code", "-"), said.replace("|", "\\|")), []).append(answer)
    for (kind, code, said), mine in groups.items():
        same = f"{sum(bool(answer.get('same')) for answer in mine)} of {len(mine)}" if "same" in mine[0] else "-"
        lines.append(f"| {kind} | {len(mine)} | {code} | {same} | {said} |")
    return lines
