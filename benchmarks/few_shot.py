"""Is learning to learn worth its cost? Few-shot accuracy beside what a pretext run gives for nothing.

    python benchmarks/few_shot.py --root DATA [--only sinusoid|cifar10|clothing10|digits|esc10|lrwar] [--dry]

DATA holds the folders cifar10, clothing10, esc10 and lrwar (README.md says where from); digits come with scikit-learn.
`--processes 2` shares the work; start it again to go on after a kill. What is finished stands in
results/few_shot/cells/, one small JSON each, and in few_shot.json all that is said of it. `--dry` does everything in
small, to see that it works.

Of each set half of the classes are held out (lrwar: 40 of 95 words), three times others. Networks that learn to learn
see episodes of the other classes, multiplied by quarter turns or by playing sounds backwards; one sees clusters of a
pretext run instead of labels, one starts from that run. The pretext run (Rotation, or ArrowOfTime of sounds) sees the
same items of the same classes, without labels. All are tested on 600 episodes of test items of the held-out classes:
beside them nearest centroid, linear probe and fine-tuning of the run's features, of a random network's and of the raw
input. An interval over episodes says nothing of other classes; that over splits does, and is the one to read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from few_shot_parts.networks import EPISODES, Plan, network, pretext_run, quiet
from few_shot_parts.results import WAYS, cell, results
from few_shot_parts.sets import KINDS, Held, sets_of
from shared import save

from datamodules import Counts, Episodes, HeldClasses
from pretext import (
    MAML,
    Informed,
    MetaLearner,
    Optim,
    SequenceLearner,
)
from pretext.evaluation.baselines import raw_input
from pretext.evaluation.embed import embed
from pretext.evaluation.protocols.few_shot import by_centroid, by_linear_probe, draw
from pretext.evaluation.statistics.intervals import student
from pretext.jobs.files import FileJob, finish
from pretext.training.inputs import InputPipeline
from pretext.training.meta.clusters import clustered
from pretext.training.meta.norms import Norm
from pretext.training.run import build, read
from pretext.views.augment import unit

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "few_shot" / "cells", HERE / "few_shot.json"
META_BATCH = 4
LEARNERS: dict[str, Callable[[], Any]] = {
    "MAML": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "first-order MAML": partial(MAML, steps=3, rate=0.1, test_steps=3, first_order=True),
    "task-informed MAML": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "sequence learner": partial(SequenceLearner, "gru", 128),
    "MAML on clusters, no labels": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "MAML from the pretext run": partial(MAML, steps=3, rate=0.1, test_steps=3),
}
TUNING = (0.02, 0.1, 0.5)
"""Rates of fine-tuning, the best of which is chosen on validation episodes of the training classes."""


def episodes(
    name: str, split: int, shots: int, args: argparse.Namespace, plan: Plan, val: float = 0.0, **options: Any
) -> Episodes:
    """Make episodes of a set."""
    kind, answers = KINDS[name], "reversal" if KINDS[name].sound else "turns"
    given: dict[str, Any] = {"multiply": answers, "queries": min(10, kind.queries)} | options
    count = Counts(train=META_BATCH * plan.steps, val=plan.val, test=plan.episodes)
    held = HeldClasses(test=kind.test, draw=split)
    data = Held(sets_of(name, args.root, args.out, plan.items), val=val)
    return Episodes(data, WAYS, shots, batch_size=META_BATCH, count=count, held=held, seed=split, **given)


def learnt(name: str, split: int, shots: int, method: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Train one network to learn, and test it."""
    kind, begin, options = KINDS[name], time.perf_counter(), dict[str, Any]()
    learner, net = LEARNERS[method](), network(kind, plan, split)
    norm: Norm = "group"
    where = args.out / "meta" / f"{name}-{split}-{shots}-{method.replace(' ', '-')}"
    where.mkdir(parents=True, exist_ok=True)
    if method == "task-informed MAML":
        rows = [fact.split() for fact in kind.facts.split(", ")]
        names = {
            one[6:].replace(" ", "_") if kind.sound else one: one
            for one in sets_of(name, args.root, args.out, plan.items)["classes"]
        }
        lines = ["class,first,second", *(",".join((names[one], *words)) for one, *words in rows)]
        (where / "facts.csv").write_text("\n".join(lines))
        options["metadata"] = where / "facts.csv"
        learner.informed = Informed()
    if method == "MAML on clusters, no labels":
        options["labels"] = clusters(name, split, args, plan, where / "labels.json")
    if method == "MAML from the pretext run":
        norm, net = "frozen", pretext_run(name, split, args.root, args.out, plan)
        learner.rate = kind.rate
    optim = Optim(partial(torch.optim.Adam, lr=1e-3), schedule="cosine", warmup=0.0)
    module = MetaLearner(backbone=net, learner=learner, norm=norm, optim=optim, seed=split)
    quiet(where, plan.steps).fit(module, datamodule=episodes(name, split, shots, args, plan, **options))
    trained = time.perf_counter() - begin
    asked = {**options, "queries": kind.queries} if "labels" not in options else {"queries": kind.queries}
    return {**scored(module, episodes(name, split, shots, args, plan, **asked), where), "training_seconds": trained}


def clusters(name: str, split: int, args: argparse.Namespace, plan: Plan, file: Path) -> Path:
    """Write clusters of the pretext run's features as labels, in four partitions."""
    data = Held(sets_of(name, args.root, args.out, plan.items))
    net = pretext_run(name, split, args.root, args.out, plan)
    features = embed(net, data.ordered("train"), unit, title="").mean[list(net.stages)[-1]].float()
    found = clustered(features, plan.clusters, 1 if plan.episodes < EPISODES else 4)
    save(file, {"listed": data.listed("train"), "partitions": found.tolist()})
    return file


def scored(module: MetaLearner, data: Episodes, where: Path) -> dict[str, Any]:
    """Test on all episodes: mean accuracy and its interval over them."""
    begin = time.perf_counter()
    quiet(where, 1).test(module, datamodule=data, verbose=False)
    found: dict[str, Any] = json.loads((where / "score.json").read_text())
    return found | {"test_seconds": time.perf_counter() - begin}


def tuned(name: str, split: int, shots: int, which: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Fine-tune a whole network on each episode's examples, at the rate that validation episodes choose."""
    kind, best = KINDS[name], (-1.0, 0.0)
    data = partial(episodes, name, split, shots, args, plan, val=0.9, multiply="none", queries=kind.queries)
    modules = {}
    for rate in TUNING:
        net = pretext_run(name, split, args.root, args.out, plan) if which == "pretext" else network(kind, plan, split)
        module = MetaLearner(backbone=net, learner=MAML(plan.tuning_steps, rate, first_order=True), norm="frozen")
        own = data()
        trainer = quiet(args.out / "tuned" / f"{name}-{split}-{shots}-{which}", 1)
        trainer.limit_val_batches = 1.0
        found = trainer.validate(module, datamodule=own, verbose=False)[0]["val/accuracy"]
        modules[rate], best = module, max(best, (found, rate))
    where = args.out / "tuned" / f"{name}-{split}-{shots}-{which}"
    return {**scored(modules[best[1]], data(), where), "rate": best[1], "validation": best[0]}


def frozen(name: str, split: int, shots: int, which: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Name questions from features as they are: nearest centroid and a linear probe on each episode's examples."""
    kind, data = KINDS[name], Held(sets_of(name, args.root, args.out, plan.items))
    net = pretext_run(name, split, args.root, args.out, plan) if which == "pretext" else network(kind, plan, split)
    net = raw_input(net, 1024) if which == "raw input" else net
    train, _, test = HeldClasses(test=kind.test, draw=split).divided(data, len(data.classes))
    stage = list(net.stages)[-1]
    seen = [embed(net, Held(data.sets, train).ordered("train"), InputPipeline(net).eval_input, title="")]
    seen += [embed(net, data.ordered("test"), InputPipeline(net).eval_input, title="")]
    mine = torch.isin(seen[1].labels, torch.tensor(test))
    drawn = draw(seen[1].labels[mine], WAYS, shots, kind.queries, plan.episodes)
    assert drawn is not None
    (a, coarse), (b, grid) = ((one.mean[stage], one.grid[stage]) for one in seen)
    found = {"centroid": by_centroid(a, b[mine], drawn), "linear": by_linear_probe(coarse, grid[mine], drawn)}
    return {
        way: {"accuracy": float(each.mean()), **student(each.tolist())._asdict(), "episodes": len(each)}
        for way, each in found.items()
    }


def sines(steps: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train configs/meta/sinusoid.yaml for so many steps; losses before learning and after 1, 5 and 10 steps."""
    config = read(HERE.parent / "configs" / "meta" / "sinusoid.yaml")
    module, data = build({key: config[key] for key in ("model", "data")})
    assert isinstance(module, MetaLearner)
    begin, where = time.perf_counter(), args.out / "sinusoid" / str(steps)
    quiet(where, steps).fit(module, datamodule=data)
    found: dict[str, Any] = {"steps": steps, "seconds": time.perf_counter() - begin}
    for test_steps in (1, 5, 10):
        module.learner.test_steps = test_steps  # type: ignore[assignment]  # it is MAML
        score = scored(module, data, where)  # type: ignore[arg-type]  # sinusoids are tested alike
        found |= {"before": score["before"], f"after {test_steps}": [score["loss"], score["low"], score["high"]]}
    return found


def jobs(args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List the jobs; a file stands for each."""
    for steps in plan.sines if args.only in (None, "sinusoid") else ():
        yield job(args, f"sinusoid/{steps}", lambda s=steps: sines(s, args))
    names = [name for name in KINDS if args.only in (None, name)]
    for split in range(plan.splits):
        for name in names:
            for shots in KINDS[name].shots:
                for which in ("pretext", "random", "raw input"):
                    place = f"{name}/{split}-{shots}"
                    what = (name, split, shots, which, args, plan)
                    yield job(args, f"{place}-frozen-{which}", lambda w=what: frozen(*w))
                    if which != "raw input":
                        yield job(args, f"{place}-tuned-{which}", lambda w=what: tuned(*w))
                for method in LEARNERS:
                    what = (name, split, shots, method, args, plan)
                    if method != "task-informed MAML" or KINDS[name].facts:
                        yield job(args, f"{place}-{method}", lambda w=what: learnt(*w))


def job(args: argparse.Namespace, name: str, run: Callable[[], Any]) -> FileJob:
    """Make a job whose result is a file."""
    return FileJob(name, cell(args.cells, name), run, lambda reason: {"failed": reason})


def write(args: argparse.Namespace, plan: Plan) -> None:
    """Write all that can be said so far."""
    about = {"command": "python benchmarks/few_shot.py --root DATA", "plan": vars(plan), "chance, %": 100 / WAYS}
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    save(file, {**about, **results(args.cells, plan.splits, plan.sines, LEARNERS)})


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and work, in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/few-shot"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--only", choices=["sinusoid", *KINDS])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    given = list(sys.argv[1:] if words is None else words)
    others = []
    if args.processes > 1:
        at = given.index("--processes")
        command = [sys.executable, __file__, *given[:at], *given[at + 2 :]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        others = [subprocess.Popen(command, env=environment) for _ in range(args.processes - 1)]
    plan = Plan(args.dry)
    finish(list(jobs(args, plan)), lambda one: one, lambda: write(args, plan), "few_shot")
    write(args, plan)
    if any(process.wait() for process in others):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
