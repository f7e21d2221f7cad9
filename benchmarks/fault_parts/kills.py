"""kill -9 and SIGTERM at random moments of real trainings, which then go on and must end as if nothing had been."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
from schedule import Answer, Clock, Part, Question

from fault_parts.processes import TOKEN, begin, call, last_lines, left_behind
from fault_parts.runs import RECORD, Took, differences, moment, step_of, undisturbed, words
from fault_parts.setting import Setting

ABOUT = "trainings killed at random moments and resumed"
TERM = 128 + signal.SIGTERM  # the exit code of who was asked to stop
GONE = 15.0  # seconds after which nothing that a killed process started may live
DRAWS = 8


def part(setting: Setting) -> Part:
    """Make the part: every kill is a question."""
    kinds = setting.size(("pictures", "videos"), ("pictures",))
    counts = {"KILL": setting.size(25, 1), "TERM": setting.size(5, 0)}
    asked = [
        Question(f"{kind}: {name} {k}", partial(compare, setting, kind, name, k), least=20.0 if k else 1.0)
        for kind in kinds
        for name, count in counts.items()
        for k in range(count)
    ]
    return Part("kills", ABOUT, 1.0, lambda: asked, table)


def compare(setting: Setting, kind: str, name: str, number: int, clock: Clock, before: Answer) -> Answer:
    """Kill a training (every fifth one twice, the second time after it went on), let it end, and compare.

    Raises:
        AssertionError: something differs, a process is left behind, or SIGTERM is not answered with its code.
        RuntimeError: the run could not go on.

    """
    whole, took = undisturbed(setting, kind)
    home = setting.out / "killed" / f"{kind}-{name}-{number}"
    rmtree(home, ignore_errors=True)
    run, cache, log = home / "run", home / "cache", home / "log.txt"
    chance = np.random.default_rng([setting.seed, kind == "videos", name == "TERM", number])
    times, steps, left = 1 + (number % 5 == 4), [], 0
    for _ in range(times):
        step = killed(words(setting, kind, run, cache), run, log, name, chance, took)
        steps += [] if step is None else [step]
        left += 0 if gone(home.name) else 1
    if code := call(log, *words(setting, kind, run, cache), **{TOKEN: home.name}):
        raise RuntimeError(f"it could not go on ({code}): {last_lines(log)}")
    odd = differences(whole, run) + ([f"{left} processes left behind"] if left else [])
    if drafts := [str(file.relative_to(run)) for file in run.rglob(".*.draft")]:
        odd.append(f"left in the run: {drafts}")
    if odd:
        raise AssertionError(f"seed {setting.seed}, killed at {steps}: {'; '.join(odd)}")
    rmtree(home)
    return {"kills": len(steps), "resumed from": steps, "same": True}


def killed(
    command: list[object],
    run: Path,
    log: Path,
    name: str,
    chance: np.random.Generator,
    took: Took,
    before: Callable[[], None] | None = None,
) -> int | None:
    """Start a training and kill it at a random moment; return the step of its checkpoint.

    Where a run that began here ends before the moment, it begins anew and another moment is drawn, from as long as it
    took; one that went on is left as it is, and nothing is returned.

    Raises:
        RuntimeError: it ended before every moment, or by an error.
        AssertionError: it was asked to stop and left with another code.

    """
    fresh = not run.exists()
    for _ in range(DRAWS):
        process = begin(log, *command, before=before, **{TOKEN: run.parent.name})
        if fresh:
            lasted = moment(run, process, took, chance)
        else:  # its first checkpoint is there already
            process.join(chance.random() * (took.start + took.loading + took.steps / 2))
        listens = (run / RECORD).exists()
        if process.is_alive():
            getattr(process, {"KILL": "kill", "TERM": "terminate"}[name])()
            process.join(60)
            if name == "TERM" and listens and fresh and process.exitcode not in (0, TERM):
                raise AssertionError(f"SIGTERM was answered with {process.exitcode}: {last_lines(log)}")
            return step_of(run)
        if process.exitcode:
            raise RuntimeError(f"it ended with {process.exitcode} by itself: {last_lines(log)}")
        if not fresh:
            return None
        took = took._replace(steps=lasted or took.steps)
        rmtree(run)
    raise RuntimeError("it ended before every moment")


def gone(token: str) -> bool:
    """Wait until all is gone that a killed process had started; False where something stays."""
    end = time.monotonic() + GONE
    while time.monotonic() < end:
        if not left_behind(token):
            return True
        time.sleep(0.05)
    return False


def table(answers: dict[str, Answer]) -> list[str]:
    """Count by data and signal."""
    lines = ["| training on | signal | trainings | kills | ended bit for bit equal | resumed from steps |"]
    lines.append("|---|---|---|---|---|---|")
    for group in dict.fromkeys(key.rpartition(" ")[0] for key in answers):
        mine = [answer for key, answer in answers.items() if key.rpartition(" ")[0] == group]
        same = [answer for answer in mine if answer.get("same")]
        steps = sorted(step for answer in same for step in answer["resumed from"])
        spread = f"{steps[0]} to {steps[-1]}, {len(set(steps))} different" if steps else "-"
        kind, name = group.split(": ")
        kills = sum(answer["kills"] for answer in same)
        lines.append(f"| {kind} | {name} | {len(mine)} | {kills} | {len(same)} of {len(mine)} | {spread} |")
    return lines
