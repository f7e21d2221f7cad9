"""Long work in one process: memory, file handles and child processes at its start, in the middle and at the end."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any, NamedTuple

from schedule import Answer, Clock, Part, Question

from fault_parts.processes import apart, begin, last_lines
from fault_parts.setting import Setting, of_films, of_pictures

ABOUT = "long work: memory, file handles and processes"
PAUSE = 0.25  # seconds between two looks
GROWTH, SLACK = 1.03, 12.0  # memory may grow by so much, or by so many MiB, from the middle to the end
STEPS, PROBES, CANDIDATES = 2000, 20, 50


class Held(NamedTuple):
    """What a process and all that it started hold."""

    memory: float
    """MiB that are its own (resident, without what is mapped from files)."""
    files: int
    children: int


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [
        Question("probes", partial(probes, setting, PROBES)),
        Question("study", partial(study, setting, CANDIDATES)),
        Question("clips", partial(clips, setting, STEPS), least=120.0),
    ]
    return Part("soak", ABOUT, 1.0, lambda: setting.size(asked, []), table)


def clips(setting: Setting, steps: int, clock: Clock, before: Answer) -> Answer:
    """Train on clips with sound and flow, decoded anew all the while."""
    config = of_films(setting.films(), None, epochs=-1)
    net = {name: {"class_path": "fault_parts.nets.Films"} for name in ("rgb", "flow")}
    net["flow"] |= {"init_args": {"channels": 2}}
    net["audio"] = {"class_path": "fault_parts.nets.Waves"}
    arrow = {"class_path": "pretext.ArrowOfTime", "init_args": {"frames": 4}}
    config["model"]["backbone"] = {"class_path": "pretext.MultiModal", "init_args": {"backbones": net}}
    config["model"]["tasks"] = {
        "arrow": {"class_path": "pretext.On", "init_args": {"modality": "flow", "task": arrow}},
        "together": {"class_path": "pretext.Alignment", "init_args": {"frames": 4}},
    }
    config["data"]["init_args"] |= {
        "modalities": ["rgb", "flow", "audio"],
        "windows": {"frames": 4, "fps": 12.5, "window": 8},
    }
    config["data"]["init_args"]["sampling"] = {"rate": 8000}
    config["trainer"] |= {"max_epochs": -1, "max_steps": steps, "log_every_n_steps": 10}
    config["checkpoint"] = {"every_n_steps": 100}
    home = setting.out / "soak"
    rmtree(home / "clips", ignore_errors=True)
    log = home / "clips.txt"
    seen = watched(log, "fit", "-c", setting.write("soak-clips", config), "--trainer.default_root_dir", home / "clips")
    return flat(seen[len(seen) // 10 : -2], f"{steps} steps")


def probes(setting: Setting, count: int, clock: Clock, before: Answer) -> Answer:
    """Probe a run again and again in one process."""
    home = setting.out / "soak"
    rmtree(home / "probed", ignore_errors=True)
    config = str(setting.write("soak-probes", of_pictures(setting.pictures(), None, 1)))
    fit = ["fit", "-c", config, "--trainer.default_root_dir", str(home / "probed")]
    probe = ["probe", str(home / "probed"), "--protocols", "knn", "linear"]
    seen = apart(
        home / "probes.txt", in_turn, [fit, *[[*probe, "--dims", str(64 + k)] for k in range(count)]], patience=1800
    )
    return flat([Held(*look) for look in seen[3:]], f"{count} probes")


def study(setting: Setting, count: int, clock: Clock, before: Answer) -> Answer:
    """Search in one process."""
    home = setting.out / "soak"
    rmtree(home / "study", ignore_errors=True)
    config = of_pictures(setting.pictures(), None, 1)
    config["model"]["tasks"]["split"] = {"class_path": "pretext.Contrast", "init_args": {"outputs": 4}}
    rank = {"class_path": "pretext.evaluation.fitness.EffectiveRank"}
    config["evolve"] = {
        "candidates": count,
        "steps": 2,
        "items": 30,
        "searcher": "cmaes",
        "population": 6,
        "fitness": rank,
    }
    log = home / "study.txt"
    seen = watched(log, "evolve", "-c", setting.write("soak-study", config), "--out", home / "study")
    return flat(seen[len(seen) // 5 : -2], f"{count} candidates")


def watched(log: Path, *words: object) -> list[Held]:
    """Call the command line in a process of its own, and look at it now and then.

    Raises:
        RuntimeError: it failed.

    """
    process = begin(log, *words)
    seen = []
    while process.is_alive():
        seen.append(held(int(process.pid or 0)))
        process.join(PAUSE)
    if process.exitcode:
        raise RuntimeError(f"it ended with {process.exitcode}: {last_lines(log)}")
    return seen


def in_turn(calls: list[list[str]]) -> list[Held]:
    """Call the command line again and again in this process, and look after each call.

    Raises:
        RuntimeError: a call failed.

    """
    from pretext.__main__ import main

    seen = []
    for words in calls:
        if code := main(words):
            raise RuntimeError(f"{words}: {code}")
        seen.append(held(os.getpid()))
    return seen


def held(pid: int) -> Held:
    """Look at a process and at all that it started."""
    family, todo = [], [pid]
    while todo:
        mine = todo.pop()
        family.append(mine)
        todo += _children(mine)
    memory = sum(_own_memory(one) for one in family)
    return Held(memory, len(_listed(Path(f"/proc/{pid}/fd"))), len(family) - 1)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _own_memory(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1024
    except OSError:
        return 0.0


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def flat(seen: list[Held], what: str) -> Answer:
    """Compare a start, a middle and an end, each the median of a fifth of what was seen.

    Raises:
        AssertionError: something grew from the middle to the end.

    """
    seen = [look for look in seen if look.memory]
    fifth = max(1, len(seen) // 5)
    thirds = [seen[:fifth], seen[len(seen) // 2 - fifth // 2 :][:fifth], seen[-fifth:]]
    rows: dict[str, list[Any]] = {
        "MiB": [round(median(look.memory for look in part), 1) for part in thirds],
        "file handles": [int(median(look.files for look in part)) for part in thirds],
        "child processes": [int(median(look.children for look in part)) for part in thirds],
    }
    _, middle, end = rows["MiB"]
    grown = end > max(middle * GROWTH, middle + SLACK)
    more = any(rows[name][2] > rows[name][1] + 1 for name in ("file handles", "child processes"))
    answer = {"what": what, "looks": len(seen), **rows, "date": time.strftime("%Y-%m-%d")}
    if grown or more:
        raise AssertionError(f"it grew: {answer}")
    return answer


def table(answers: dict[str, Answer]) -> list[str]:
    """Say what was held at the start, in the middle and at the end."""
    lines = ["| | MiB at start, middle, end | file handles | child processes | looks |", "|---|---|---|---|---|"]
    for name, answer in answers.items():
        if "what" not in answer:
            lines.append(f"| {name} | {answer.get('error', '')} | | | |")
            continue
        cells = [", ".join(f"{value:,}" for value in answer[key]) for key in ("MiB", "file handles", "child processes")]
        lines.append(f"| {answer['what']} | {' | '.join(cells)} | {answer['looks']} |")
    return lines
