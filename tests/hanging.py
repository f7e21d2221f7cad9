"""A worker on a study of its own, which hangs where a test says; processes are forked with it."""

import json
import os
import time
from pathlib import Path

from optuna.samplers import RandomSampler

from pretext.jobs.study import open_study
from pretext.jobs.trials import PlannedJob
from pretext.search.samplers import make_sampler
from pretext.search.study import work

COUNT, FIXED = 14, 2  # candidates, of which controls


def work_as(url, searched, log, role):
    """Work on a study as a victim, which hangs in its first candidate, as a survivor, which waits for it, or alone."""
    space = {"jigsaw": (0, 1), "rotation": (0, 1)}
    cmaes = searched == "cmaes"
    sampler = make_sampler("cmaes", space, seed=0, population=4) if cmaes else RandomSampler(seed=os.getpid())

    def note(what, index, weights):
        with Path(log).open("a") as file:
            file.write(json.dumps([what, index, weights, role]) + "\n")

    def hung():
        return Path(log).exists() and '"hang"' in Path(log).read_text()

    def run(trial):
        index, weights = trial.user_attrs["candidate"], trial.user_attrs.get("weights")
        weights = weights or {name: trial.suggest_float(name, 0, 1) for name in ("jigsaw", "rotation")}
        note("begin", index, weights)
        if role == "victim" and "control" not in trial.user_attrs:
            note("hang", index, weights)
            time.sleep(600)
        while role == "survivor" and not hung():  # so that the victim gets its candidate, however slowly it starts
            time.sleep(0.02)
        time.sleep(0.05)
        note("end", index, weights)
        return -sum((weight - 0.3) ** 2 for weight in weights.values())

    fixed = {"jigsaw": 1.0, "rotation": 0.0}
    controls = {"jigsaw alone": fixed, "all equal": dict.fromkeys(fixed, 1.0)}
    jobs = [PlannedJob({"control": control, "weights": weights}, {}) for control, weights in controls.items()]
    jobs += [PlannedJob({}, {}) for _ in range(12)]
    study = open_study(url, searched, lambda: jobs, {"steps": 30}, sampler, heartbeat=1)
    print(work(study, run, lambda candidate: None))
