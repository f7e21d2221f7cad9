"""`pretext bench`: train what is missing, probe everything, and rank it, as one YAML says.

A cell is one entry with one seed on one board. Each leaves a file when it is finished, named by all that it depends on,
so the same command goes on after a kill or a change, and several processes that run it share the work: a lock holds
each cell while it is worked on, and the operating system frees the locks of what it kills.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from yaml import safe_dump

from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.suite import BASELINES, Job, Options, Suite, jobs
from pretext.core.files import write_json
from pretext.core.types import Backbone
from pretext.evaluation.available import with_sources
from pretext.evaluation.cache import digest
from pretext.evaluation.embed import VERSION
from pretext.evaluation.probe import SPLITS, ProbedData, ProbePlan, facts, probe_network
from pretext.evaluation.results import curves_to_json
from pretext.training.cli import PretextCLI
from pretext.training.networks import of_outsider, of_run
from pretext.training.run import CONFIG, LAST, read

Cell = dict[str, Any]
"""A finished cell, see `results.CellResult`, with "data" and "protocol" of what it was measured on."""


def work(suite: Suite, folder: Path, after: Callable[[], None], only: Sequence[str] | None = None) -> None:
    """Finish every cell (of `only` some boards), but leave to other processes what they work on.

    `after` is called whenever one is finished. A cell that fails is noted with its reason and not tried again by this
    process.

    Raises:
        ValueError: `only` names no board.

    """
    if unknown := set(only or ()) - set(suite.boards):
        raise ValueError(f"bench: no board {', '.join(sorted(unknown))}; there are {', '.join(suite.boards)}")
    waiting = [job for job in jobs(suite) if not only or job.board in only]
    while waiting:
        busy = []
        for job in waiting:
            file = file_of(suite, folder, job)
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(file.with_suffix(".lock"), timeout=0):
                    if not file.exists():
                        print(f"bench: {job.board}, {job.name}, seed {job.seed}", file=sys.stderr, flush=True)
                        _attempt(suite, folder, job)
                        _told(after)
            except Timeout:
                busy.append(job)
        waiting = busy
        time.sleep(2 if busy else 0)


def _told(after: Callable[[], None]) -> None:
    """Write the page; what is wrong with it must not stop the work."""
    try:
        after()
    except Exception as error:
        print(f"bench: the page could not be written: {error}", file=sys.stderr, flush=True)


def cells(suite: Suite, folder: Path, board: str) -> list[Cell]:
    """Read what is finished of a board, what it is compared with, and what failed."""
    found: list[Cell] = []
    users: dict[str, list[str]] = {}  # of each cell of a baseline the entries that it belongs to
    for job in (job for job in jobs(suite) if job.board == board):
        file = file_of(suite, folder, job)
        there = next((f for f in (file, file.with_suffix(".failed")) if f.exists()), None)
        if there is not None:
            found.append(json.loads(there.read_text()))
            for name in found[-1].pop("compared"):
                users.setdefault(name, []).append(job.name)
    others = {name: json.loads((folder / "cells" / board / name).read_text()) for name in users}
    return found + _named(others, users)


def boards(suite: Suite, folder: Path) -> list[Board]:
    """Gather what is finished, for the leaderboard."""
    found: list[Board] = []
    for name in suite.boards:
        own = cells(suite, folder, name)
        about: Cell = next((cell for cell in own if "data" in cell), {"data": {}, "protocol": {}})
        sizes = {(cell["data"]["train"], cell["data"]["test"]) for cell in own if "data" in cell}
        if len(sizes) > 1:
            about["protocol"]["attention"] = f"entries were measured on different items (train, test): {sorted(sizes)}"
        planned = sum(job.board == name for job in jobs(suite)) + sum("compared" in cell for cell in own)
        results = tuple(map(CellResult.from_json, own))
        found.append(Board(name, about["data"], about["protocol"], planned, results))
    return found


def _named(others: Mapping[str, Cell], users: Mapping[str, list[str]]) -> list[Cell]:
    """Name baselines: the one that most entries have by its kind alone, others by an entry that has them."""
    kinds: dict[tuple[str, str], list[str]] = {}  # (kind, architecture) -> entries
    for name, cell in others.items():
        kinds.setdefault((cell["kind"], cell["architecture"]), []).extend(users[name])
    usual = {kind: max((k for k in kinds if k[0] == kind), key=lambda k: len(kinds[k])) for kind, _ in kinds}
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for cell in others.values():
        own = (cell["kind"], cell["architecture"])
        name = cell["kind"] if usual[cell["kind"]] == own else f"{cell['kind']}, as {kinds[own][0]}"
        found.append(
            {**cell, "entry": name, "seed": seen[own], "compared": []}
        )  # numbered: runs' own seeds may be equal
        seen[own] += 1
    return found


def file_of(suite: Suite, folder: Path, job: Job) -> Path:
    """Return the file of a finished cell; its name changes with what the YAML and the files that it names say of it."""
    board = suite.boards[job.board]
    key = _hash(
        VERSION, _training(suite, job), _stamped(board.data), with_sources(suite.protocols), suite.dims, suite.views
    )
    return folder / "cells" / job.board / f"{job.name}-{job.seed}-{key}.json"


def _training(suite: Suite, job: Job) -> str:
    """Say all that training, or what is measured instead of it, depends on."""
    entry = asdict(job.entry) | {"seeds": None, "run": _stamped(str(Path(job.entry.run or "") / LAST))}
    config = read(job.entry.config) if job.entry.config else None
    return repr([_stamped(part) for part in (entry, suite.boards[job.board].options, config)])


def _stamped(value: Any) -> Any:
    """Put beside each file that is named what it holds: a config's content (comments apart), others' size and date."""
    if isinstance(value, Mapping):
        return {key: _stamped(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_stamped(part) for part in value]
    if not isinstance(value, str) or "\n" in value or not Path(value).is_file():
        return value
    if value.endswith((".yaml", ".yml")):
        return value, OmegaConf.to_container(OmegaConf.load(value), resolve=True)
    return value, Path(value).stat().st_size, Path(value).stat().st_mtime_ns


def _hash(*facts: object) -> str:
    return blake2b(repr(facts).encode(), digest_size=4).hexdigest()


def _attempt(suite: Suite, folder: Path, job: Job) -> None:
    """Train and measure; where that fails, note why and go on with the others."""
    file = file_of(suite, folder, job)
    who = {"entry": job.name, "kind": _kind(job), "seed": job.seed}
    try:
        write_json(file, {**who, "failed": None, **_cell(suite, folder, job)})
        file.with_suffix(".failed").unlink(missing_ok=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"bench: {job.board}, {job.name}, seed {job.seed} failed: {reason}", file=sys.stderr, flush=True)
        empty: Cell = {"rows": [], "low_label": [], "pretext": None, "seconds": {}, "command": None, "compared": []}
        write_json(file.with_suffix(".failed"), {**who, "failed": reason, **empty})


def _kind(job: Job) -> str:
    """Say what an entry is; a network without weights has seen nothing."""
    if job.entry.backbone:
        return "trained" if job.entry.weights else "random"
    return kind_of(Path(job.entry.config or Path(job.entry.run or "") / CONFIG))


def kind_of(config: Path) -> str:
    """Say whether the backbone of a config has seen labels; under a probe it stays as it was."""
    name = str(read(config)["model"].get("class_path", "")) if config.is_file() else ""
    return "supervised" if name.endswith("FineTune") else "trained"


def _cell(suite: Suite, folder: Path, job: Job) -> Cell:
    """Train if need be, measure the trained network, and what it is compared with unless that is there already."""
    entry, data = job.entry, arguments(suite.boards[job.board].data)
    told: Cell = {"command": None, "pretext": None, "seconds": {}}
    if entry.backbone:
        networks, probed, _ = of_outsider(entry.backbone, entry.weights, data, entry.crop, suite.dims)
    else:
        run = folder / "runs" / job.board / f"{job.name}-{job.seed}-{_hash(_training(suite, job))}"
        if entry.config:
            told = _train(job, suite.boards[job.board].options, run)
        networks, probed, _ = of_run(entry.run or run, data, entry.modality, suite.dims)
    network = networks.get("trained", networks["random"])  # an outsider without weights is a random network
    measured = _measured(network, probed, suite)
    others = BASELINES if "trained" in networks else ("raw",)
    compared = [_compared(suite, folder, job, kind, networks[kind], probed) for kind in others]
    seconds = told["seconds"] | measured["seconds"]
    return {**told, **measured, "seconds": seconds, "compared": compared}


def _compared(suite: Suite, folder: Path, job: Job, kind: str, network: Backbone, probed: ProbedData) -> str:
    """Measure a network at random initialisation, or the raw input, once for all entries that have the same."""
    seen = [probed.view_key, probed.modality, *(probed.data.fingerprint(split) for split in SPLITS)]
    key = _hash(VERSION, digest(network), seen, with_sources(suite.protocols), suite.dims, suite.views)
    file = folder / "cells" / job.board / f"={kind}-{key}.json"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            who = {"kind": kind, "seed": job.seed, "architecture": _hash(repr(network), seen)}
            empty: Cell = {"command": None, "pretext": None, "failed": None}
            write_json(file, {**who, **empty, **_measured(network, probed, suite)})
    return file.name


def _measured(network: Backbone, probed: ProbedData, suite: Suite) -> Cell:
    begin, plan = time.perf_counter(), ProbePlan(suite.protocols, suite.views, suite.dims)
    found = probe_network(network, probed, plan, None, "bench")
    seconds = {"probe": round(time.perf_counter() - begin, 1)}
    rows = [row.to_json() for row in found.rows]
    return {**facts(probed, plan, found), "rows": rows, **curves_to_json(found.curves), "seconds": seconds}


def _train(job: Job, options: Options, run: Path) -> Cell:
    """Train a config, or go on where it stopped, and score it on its held-out share: {"command", "pretext", ...}."""
    assert job.entry.config is not None
    own = [*arguments({**options, **job.entry.options}), "--seed_everything", str(job.seed)]
    fit = ["fit", "-c", job.entry.config, *own]
    done = run / "bench.json"
    run.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(
        run.parents[1] / f"{run.parent.name}-{run.name}.lock"
    ):  # another suite, of other protocols, may want the same run
        if not done.exists():
            begin, started = time.perf_counter(), (run / LAST).exists()
            PretextCLI(["fit", str(run)] if started else [*fit, "--trainer.default_root_dir", str(run)])
            seconds = {} if started else {"train": round(time.perf_counter() - begin, 1)}  # of a resumed run: not known
            scored = PretextCLI(["validate", str(run), "--trainer.limit_val_batches", "1.0"])
            scores = {name: float(value) for name, value in scored.trainer.callback_metrics.items()}
            write_json(done, {"seconds": seconds, "scores": scores})
    told = json.loads(done.read_text())
    chance = json.loads((run / "chance.json").read_text())
    return {"command": shlex.join(["pretext", *fit]), "pretext": _skill(told, chance), "seconds": told["seconds"]}


def _skill(told: Cell, chance: Mapping[str, Mapping[str, float]]) -> Cell | None:
    """Set a run's held-out scores beside a blind guess's; its skill is the share of that loss that it removed."""
    if not chance:
        return None
    scores = {name.removeprefix("val/"): value for name, value in told["scores"].items() if name.count("/") == 2}
    guesses = {f"{task}/{name}": value for task, of in chance.items() for name, value in of.items()}
    removed = [1 - scores[f"{task}/loss"] / chance[task]["loss"] for task in chance if f"{task}/loss" in scores]
    skill = sum(removed) / len(removed) if removed else None
    return {"skill": skill, "scores": scores, "chance": {name: guesses[name] for name in scores if name in guesses}}


def arguments(options: Options) -> list[str]:
    """Turn {trainer.max_steps: 100} to ["--trainer.max_steps", "100"]; structures become YAML on one line.

    An option that is null is left out: so an entry takes back what its board says.
    """
    found = []
    for name, value in ((name, value) for name, value in options.items() if value is not None):
        plain = isinstance(value, str)
        text = value if plain else safe_dump(value, default_flow_style=True, width=10**9).removesuffix("...\n").strip()
        found += [f"--{name}", text]
    return found
