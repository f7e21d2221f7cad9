"""Is learning to learn worth its cost? Few-shot accuracy beside what a pretext run gives for nothing.

    python benchmarks/few_shot.py --root DATA [--only sinusoid|cifar10|clothing10|digits|esc10|lrwar] [--dry]

DATA holds the folders cifar10, clothing10, esc10 and lrwar (README.md says where from); digits come with scikit-learn.
`--processes 2` shares the work; start it again to go on after a kill. What is finished stands in
results/few_shot/cells/, one small JSON each, and in few_shot.json all that is said of it. `--dry` does everything in
small, to see that it works.

Of each set half of the classes are held out (lrwar: 40 of 98 words), three times others. Networks that learn to learn
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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import pytorch_lightning as pl
import torch
from filelock import FileLock
from shared import interval, save
from torch import Tensor

from datamodules import (
    CIFAR10,
    Clips,
    Counts,
    Digits,
    Episodes,
    HeldClasses,
    ImageFolder,
    Lists,
    Sampling,
    Sounds,
    Splitting,
    Windows,
)
from datamodules.base import DataModule
from datamodules.loader import Memory
from pretext import (
    MAML,
    ArrowOfTime,
    Informed,
    MetaLearner,
    Optim,
    Pretrainer,
    ResNet,
    Rotation,
    SequenceLearner,
    Sound,
)
from pretext.core.files import whole
from pretext.evaluation.baselines import raw_input
from pretext.evaluation.embed import embed
from pretext.evaluation.protocols.few_shot import by_centroid, by_linear_probe, draw
from pretext.evaluation.statistics.intervals import student
from pretext.jobs.files import FileJob, finish, read_result
from pretext.training.inputs import InputPipeline
from pretext.training.meta.clusters import clustered
from pretext.training.run import build, read
from pretext.views.augment import unit

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "few_shot" / "cells", HERE / "few_shot.json"
WAYS, SPLITS, EPISODES, META_BATCH = 5, 3, 600, 4
LEARNERS: dict[str, Callable[[], Any]] = {
    "MAML": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "first-order MAML": partial(MAML, steps=3, rate=0.1, test_steps=3, first_order=True),
    "task-informed MAML": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "sequence learner": partial(SequenceLearner, "gru", 128),
    "MAML on clusters, no labels": partial(MAML, steps=3, rate=0.1, test_steps=3),
    "MAML from the pretext run": partial(MAML, steps=3, rate=0.1, test_steps=3),
}
TUNING = (0.1, 0.5)
"""Rates of fine-tuning, the best of which is chosen on validation episodes of the training classes."""


class Kind(NamedTuple):
    """A set of data."""

    open: Callable[[Path], DataModule]
    sound: bool
    shots: tuple[int, ...]
    queries: int
    """Of each class, in the test."""
    test: int
    """Classes that are held out."""
    facts: str = ""
    """What is known of each class, for task-informed MAML: its name and two words; "": nothing is."""


def folder(root: Path, name: str) -> DataModule:
    """Open folders of pictures."""
    return ImageFolder(root / name, canvas=16, split=Splitting(val=0.0))


def sounds(root: Path) -> DataModule:
    """Open ESC-10, whose fold 1 is the test set."""
    return Sounds(root / "esc10", seconds=4.0, sampling=Sampling(8000, 1), fold_pattern=r"^(\d)-", split=Splitting(0.0))


def words(root: Path) -> DataModule:
    """Open the sound of the words."""
    lists = Lists(train_list="labels.csv", columns={"file": "file", "label": "class_id", "split": "split"})
    windows = Windows(frames=25, fps=25.0)
    options: dict[str, Any] = {"layout": "lists", "lists": lists, "modalities": ["audio"], "windows": windows}
    return Clips(root / "lrwar", sampling=Sampling(8000, 1), split=Splitting(0.0), **options)


KINDS = {
    "cifar10": Kind(
        lambda root: CIFAR10(root / "cifar10", split=Splitting(val=0.0)), False, (1, 5), 5, 5,
        "airplane machine air, automobile machine road, bird animal air, cat animal home, deer animal wild, "
        "dog animal home, frog animal wild, horse animal wild, ship machine water, truck machine road",
    ),
    "clothing10": Kind(
        partial(folder, name="clothing10"), False, (1, 5), 5, 5,
        "dress body long, hat head short, longsleeve top long, outwear top long, pants legs long, shirt top long, "
        "shoes feet short, shorts legs short, skirt legs short, t-shirt top short",
    ),
    "digits": Kind(
        lambda root: Digits(size=8, split=Splitting(val=0.0)), False, (1, 5), 5, 5,
        "0 one round, 1 none straight, 2 none round, 3 none round, 4 none straight, 5 none round, 6 one round, "
        "7 none straight, 8 two round, 9 one round",
    ),
    "esc10": Kind(
        sounds, True, (1, 5), 3, 5,
        "Dog_bark animal short, Rain nature long, Sea_waves nature long, Baby_cry person long, "
        "Clock_tick machine short, Person_sneeze person short, Helicopter machine long, Chainsaw machine long, "
        "Rooster animal short, Fire_crackling nature long",
    ),
    "lrwar": Kind(words, True, (1,), 4, 40),
}  # fmt: skip
"""Sets: how they are opened, whether they are sounds, shots, questions, classes of the test, and what is known of each
class: its name and two words. Nothing is known of the words of lrwar."""


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool) -> None:
        self.steps, self.pretext_steps, self.episodes, self.val = (1, 1, 4, 2) if dry else (100, 300, EPISODES, 20)
        self.splits, self.clusters, self.tuning_steps = (1, 8, 2) if dry else (SPLITS, 40, 10)
        self.sines = (2, 4) if dry else (5000, 15000)
        self.items = 400 if dry else 100_000
        self.width = 4 if dry else 8


@final
class Held(DataModule):
    """A set that was read once, in memory; `only` some classes of the training set, to train on without labels."""

    def __init__(self, sets: dict[str, Any], only: Sequence[int] | None = None, val: float = 0.0) -> None:
        super().__init__(64, val, limit=None, seed=0)
        self.sets, self.only = sets, only

    @property
    def classes(self) -> list[str]:
        return list(self.sets["classes"])

    def open(self, split: str) -> Memory:  # type: ignore[override]  # "train" or "test"
        x, y = self.sets[split]
        mine = slice(None) if self.only is None or split == "test" else torch.isin(y, torch.tensor(self.only))
        return Memory(x[mine], y[mine])


def sets_of(name: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Read a set once, and keep it in a file."""
    file = args.out / "sets" / f"{name}{plan.items}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            data = KINDS[name].open(args.root)
            data.prepare_data()
            found: dict[str, Any] = {"classes": [str(one) for one in data.classes]}
            for split in ("train", "test"):
                batches = list(data.ordered(split, min(plan.items, 10_000 if split == "test" else 20_000)))
                x = [b["x"]["audio"] if isinstance(b["x"], dict) else b["x"] for b in batches]
                x = [part if KINDS[name].sound else small(part) for part in x]
                found[split] = (torch.cat(x), torch.cat([b["y"] for b in batches]))
            with whole(file) as draft:
                torch.save(found, draft)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def small(x: Tensor, side: int = 16) -> Tensor:
    """Bring pictures to at most 16 px."""
    if x.shape[-1] <= side:
        return x
    fine = torch.nn.functional.interpolate(x.float(), (side, side), mode="bilinear", antialias=True)
    return fine.round().to(torch.uint8)


def network(kind: Kind, plan: Plan, seed: int) -> Any:
    """Build a small network; sounds are seen as 16 bands of 0.1 s each."""
    torch.manual_seed(seed)
    net = ResNet(blocks=(1, 1), width=plan.width)
    return Sound(net, rate=8000, bands=16, window=0.1, hop=0.1) if kind.sound else net


def quiet(where: Path, steps: int) -> pl.Trainer:
    """Make a trainer that says nothing and keeps nothing."""
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    where.mkdir(parents=True, exist_ok=True)
    return pl.Trainer(
        default_root_dir=where, max_steps=steps, max_epochs=-1, accelerator="cpu", limit_val_batches=0,
        num_sanity_val_steps=0, **dict.fromkeys(off, False),
    )  # fmt: skip


def pretext_run(name: str, split: int, args: argparse.Namespace, plan: Plan) -> Any:
    """Return a network that was trained on the training classes' items without labels; trained once."""
    kind, data = KINDS[name], Held(sets_of(name, args, plan))
    file = args.out / "pretext" / f"{name}-{split}-{plan.pretext_steps}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            train, _, _ = HeldClasses(test=kind.test, draw=split).divided(data, len(data.classes))
            task = {"answer": ArrowOfTime if kind.sound else Rotation}
            optim = Optim(partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.01))
            module = Pretrainer(network(kind, plan, split), task, optim=optim, seed=split)
            quiet(args.out, plan.pretext_steps).fit(module, datamodule=Held(data.sets, train))
            with whole(file) as draft:
                torch.save(module.backbone.state_dict(), draft)
    net = network(kind, plan, split)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net


def episodes(
    name: str, split: int, shots: int, args: argparse.Namespace, plan: Plan, val: float = 0.0, **options: Any
) -> Episodes:
    """Make episodes of a set."""
    kind, answers = KINDS[name], "reversal" if KINDS[name].sound else "turns"
    given: dict[str, Any] = {"multiply": answers, "queries": min(10, kind.queries)} | options
    count = Counts(train=META_BATCH * plan.steps, val=plan.val, test=plan.episodes)
    held = HeldClasses(test=kind.test, draw=split)
    data = Held(sets_of(name, args, plan), val=val)
    return Episodes(data, WAYS, shots, batch_size=META_BATCH, count=count, held=held, seed=split, **given)


def learnt(name: str, split: int, shots: int, method: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Train one network to learn, and test it."""
    kind, begin, options = KINDS[name], time.perf_counter(), dict[str, Any]()
    learner, norm, net = LEARNERS[method](), "group", network(kind, plan, split)
    where = args.out / "meta" / f"{name}-{split}-{shots}-{method.replace(' ', '-')}"
    where.mkdir(parents=True, exist_ok=True)
    if method == "task-informed MAML":
        rows = [fact.split() for fact in kind.facts.split(", ")]
        names = {one[6:].replace(" ", "_") if kind.sound else one: one for one in sets_of(name, args, plan)["classes"]}
        lines = ["class,first,second", *(",".join((names[one], *words)) for one, *words in rows)]
        (where / "facts.csv").write_text("\n".join(lines))
        options["metadata"] = where / "facts.csv"
        learner.informed = Informed()
    if method == "MAML on clusters, no labels":
        options["labels"] = clusters(name, split, args, plan, where / "labels.json")
    if method == "MAML from the pretext run":
        norm, net = "frozen", pretext_run(name, split, args, plan)
    optim = Optim(partial(torch.optim.Adam, lr=1e-3), schedule="cosine", warmup=0.0)
    module = MetaLearner(backbone=net, learner=learner, norm=norm, optim=optim, seed=split)  # type: ignore[arg-type]
    quiet(where, plan.steps).fit(module, datamodule=episodes(name, split, shots, args, plan, **options))
    trained = time.perf_counter() - begin
    asked = {**options, "queries": kind.queries} if "labels" not in options else {"queries": kind.queries}
    return {**scored(module, episodes(name, split, shots, args, plan, **asked), where), "training_seconds": trained}


def clusters(name: str, split: int, args: argparse.Namespace, plan: Plan, file: Path) -> Path:
    """Write clusters of the pretext run's features as labels, in four partitions."""
    data = Held(sets_of(name, args, plan))
    net = pretext_run(name, split, args, plan)
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
        net = pretext_run(name, split, args, plan) if which == "pretext" else network(kind, plan, split)
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
    kind, data = KINDS[name], Held(sets_of(name, args, plan))
    net = pretext_run(name, split, args, plan) if which == "pretext" else network(kind, plan, split)
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
    file = args.cells / f"{name.replace(' ', '-').replace(',', '')}.json"
    return FileJob(name, file, run, lambda reason: {"failed": reason})


def results(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Average over splits: "mean ± half the 95 % interval over splits", and beside it that over episodes."""
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        for shots in kind.shots:
            rows: dict[str, list[Any]] = {}
            for split in range(plan.splits):
                for which in ("pretext", "random", "raw input"):
                    for way, score in (result(args, f"{name}/{split}-{shots}-frozen-{which}") or {}).items():
                        rows.setdefault(f"{which}, {way}", []).append(score)
                    if tuned_one := result(args, f"{name}/{split}-{shots}-tuned-{which}"):
                        rows.setdefault(f"{which}, fine-tuned", []).append(tuned_one)
                for method in LEARNERS:
                    if score := result(args, f"{name}/{split}-{shots}-{method}"):
                        rows.setdefault(method, []).append(score)
            found[f"{name}, {WAYS} ways, {shots} shots"] = {row: said(scores) for row, scores in rows.items()}
    sinusoid = {str(steps): result(args, f"sinusoid/{steps}") for steps in plan.sines}
    return {"accuracy": {key: rows for key, rows in found.items() if rows}, "sinusoid": sinusoid}


def result(args: argparse.Namespace, name: str) -> Any:
    """Read a finished cell; None where there is none, or it failed."""
    found = read_result(job(args, name, dict).file)
    return None if found is None or "failed" in found else found


def said(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say what the splits of a row come to, in percent."""
    half = statistics.mean(50 * (score["high"] - score["low"]) for score in scores)
    spent = [score["training_seconds"] for score in scores if "training_seconds" in score]
    about = {"training, s": round(statistics.mean(spent), 1)} if spent else {}
    over = {"over splits": interval([score["accuracy"] for score in scores]), "splits": len(scores)}
    return {**over, "± over episodes": round(half, 1), **about}


def write(args: argparse.Namespace, plan: Plan) -> None:
    """Write all that can be said so far."""
    about = {"command": "python benchmarks/few_shot.py --root DATA", "plan": vars(plan), "chance, %": 100 / WAYS}
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    save(file, {**about, **results(args, plan)})


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
