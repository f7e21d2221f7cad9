"""`pretext transfer predict SUITE.yaml`: train known tasks, predict all targets, go on after a kill, share the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.files import whole
from pretext.core.rng import rng
from pretext.jobs.files import FileJob, finish, read_result
from pretext.transfer.codes import Code
from pretext.transfer.measure import losses_of as readout_losses
from pretext.transfer.problems import Items, Pretext
from pretext.transfer.suite import Readout
from pretext.transfer.task_transfer.materials import Materials
from pretext.transfer.task_transfer.networks import build, encoder_of, fitted, task_factory, train
from pretext.transfer.task_transfer.results import FEW, START, SUPERVISED, Predicted, Predictions, Studied
from pretext.transfer.task_transfer.selection import leave_one_out, predictions, predictions_of
from pretext.transfer.task_transfer.suite import TaskSuite
from pretext.transfer.task_transfer.ttnet import fit
from pretext.transfer.task_transfer.vectors import basis_of

Plain = dict[str, Any]
LEAST = 3
"""Sources that anything is predicted from in a study."""


class Draw(NamedTuple):
    """A set of sources for one target, in the study of how many are needed."""

    target: str
    size: int
    number: int


class Predictor:
    """A suite and the folder of its results; what jobs share is loaded once for each process.

    Args:
        suite: what to do.
        folder: of the results.
        sizes: numbers of sources to study.
        draws: how many sets of each size.

    Raises:
        ValueError: a number of sources that no target has, or no set.

    """

    def __init__(self, suite: TaskSuite, folder: Path, sizes: Sequence[int] = (), draws: int = 3) -> None:
        self.suite, self.folder, self.sizes, self.draws = suite, folder, tuple(sizes), draws
        self.own = Materials(suite, folder)
        most = max((len(suite.sources(name)) for name in suite.wanted if suite.tasks[name].known), default=0)
        lost = [size for size in self.sizes if not LEAST <= size <= most]
        wanted = f"from {LEAST} to {most} of them can be drawn" if most else "no target has networks to judge by"
        require(not lost, "transfer predict", f"a study of {', '.join(map(str, lost))} sources", wanted)
        require(draws >= 1, "transfer predict", f"{draws=}", "give 1 or more")

    def work(self, after: Callable[[], None]) -> None:
        """Finish everything, but leave to other processes what they work on; `after` each job.

        Raises:
            ValueError: as `check`.

        """
        self.check()
        names = [name for name in self.suite.known if not self.suite.tasks[name].runs]
        models = [(name, k) for name in names for k in range(self.suite.training.models)]
        finish(models, lambda unit: self.model_job(*unit), after, "transfer predict")
        if self.measures:
            pairs = [(source, target) for target in self.suite.tasks for source in self.suite.known]
            finish(pairs, lambda unit: self.affinity_job(*unit), after, "transfer predict")
        finish(self.suite.wanted, self.target_job, after, "transfer predict")
        finish(self.plan(), self.study_job, after, "transfer predict")

    def check(self) -> None:
        """Read runs and files of correlations, before anything is trained.

        Raises:
            ValueError: networks of several shapes, a file that cannot be read, or a pair without a correlation.

        """
        for name in self.suite.known:
            if self.suite.tasks[name].runs:
                self.own.weights(name)
            else:
                self.own.layout().vector(self.own.network(name).state_dict(), name)
        for target in self.suite.wanted if not self.measures else ():
            sources = self.suite.sources(target)
            self.own.gamma().between(sources, [*sources, target])

    @property
    def measures(self) -> bool:
        """Are correlations measured here?"""
        own = self.suite.correlations
        return not (own.table or own.votes or own.scores)

    # ---- Jobs

    def model_job(self, name: str, model: int) -> FileJob:
        """Train a model."""
        file = self.own.model_file(name, model)
        run = lambda: train(self.suite, name, model, self.own.photos().train, file)  # noqa: E731
        return FileJob(f"train {name} {model}", file.with_suffix(".json"), run, _why)

    def affinity_job(self, source: str, target: str) -> FileJob:
        """Train a read-out of a target on a source's frozen encoder."""
        return FileJob(
            f"{source} to {target}",
            self.own.affinity_file(source, target),
            partial(self._affinity, source, target),
            _why,
        )

    def target_job(self, target: str) -> FileJob:
        """Predict a task by every way."""
        failure = lambda reason: Predicted(target, failed=reason).to_json()  # noqa: E731
        return FileJob(f"predict {target}", self.own.file("targets", target), partial(self._predict, target), failure)

    def study_job(self, draw: Draw) -> FileJob:
        """Predict a task from fewer sources."""
        file = self.own.file("study", f"{draw.target}-{draw.size}-{draw.number}")
        return FileJob(f"{draw.target} from {draw.size} sources, {draw.number}", file, partial(self._study, draw), _why)

    def plan(self) -> list[Draw]:
        """List the sets of sources to study; of all sources there is one."""
        plan = []
        for target in self.suite.wanted:
            most = len(self.suite.sources(target))
            for size in self.sizes if self.suite.tasks[target].known else ():
                plan += [Draw(target, size, k) for k in range(1 if size >= most else self.draws) if size <= most]
        return plan

    def results(self) -> Predictions:
        """Gather what is finished so far."""
        found = [read_result(self.own.file("targets", name)) for name in self.suite.wanted]
        targets = tuple(Predicted.from_json(plain) for plain in found if plain is not None)
        cells = [read_result(self.study_job(draw).file) for draw in self.plan()]
        study = [Studied(c["target"], tuple(c["sources"]), c["wins"]) for c in cells if c and "failed" not in c]
        return Predictions(self.suite.title, targets, len(self.suite.wanted), tuple(study))

    # ---- What jobs do

    def _affinity(self, source: str, target: str) -> Plain:
        suite, own = self.suite, self.suite.correlations
        readout = Readout(items=own.items, test_items=own.items, steps=own.steps, batch=min(50, own.items), seeds=[0])
        code = Code([self.own.loaded(source).encoder])
        problem, photos = Pretext(task_factory(suite, suite.tasks[target])), self.own.photos().labelled[: own.items]
        half = max(1, own.items // 2)
        items = Items(photos[:half], None), Items(photos[-half:], None)
        return {"losses": readout_losses(code, problem, *items, readout, target)[0]}

    def _predict(self, target: str) -> Plain:
        begin, suite = time.perf_counter(), self.suite
        known, gamma = self.own.known(target, suite.sources(target))
        basis = basis_of(list(known.weights), self.own.layout().sizes, rng("cpu", "task transfer", "basis", suite.seed))
        selection = leave_one_out(known, self.own.candidates, self.own.consistency, self.own.judge)
        ttnet = fit(known, selection.settings, self.own.consistency)
        found = predictions_of(ttnet, gamma)
        for way, vector in found.items():
            self._keep(target, way, vector)
        reused = known.names[int(gamma.argmax())]
        return Predicted(
            target,
            known.names,
            tuple(gamma.tolist()),
            basis.shared,
            tuple((one.way, one.consistency, one.cosine, one.loss) for one in selection.left),
            selection.best.way,
            self._judged(target, found),
            self._reuse(found, reused) if suite.tasks[reused].task else {},
            reused,
            ttnet.remembered,
            round(time.perf_counter() - begin, 1),
        ).to_json()

    def _study(self, draw: Draw) -> Plain:
        sources = self.suite.sources(draw.target)
        mixed = torch.randperm(len(sources), generator=rng("cpu", "task transfer", "study", *draw))
        chosen = [sources[k] for k in sorted(mixed[: draw.size].tolist())]
        known, gamma = self.own.known(draw.target, chosen)
        found = predictions(known, gamma, self.own.candidates[0], self.own.consistency)
        losses = {way: [self.own.losses(draw.target, vector)] for way, vector in found.items()}
        losses[SUPERVISED] = [self.own.losses(draw.target, vector) for vector in self.own.weights(draw.target)]
        one = Predicted(draw.target, losses=losses)
        wins = {way: win.rate for way in found if (win := one.win(way, SUPERVISED))}
        return {"target": draw.target, "sources": chosen, "wins": wins}

    def _judged(self, target: str, found: Mapping[str, Tensor]) -> dict[str, list[list[float]]]:
        """Give the losses of all ways, also with few labels, beside an untrained and supervised networks."""
        if not self.suite.tasks[target].known:
            return {}
        vectors = {**found, **self._start()}
        losses = {way: [self.own.losses(target, vector)] for way, vector in vectors.items()}
        losses[SUPERVISED] = [self.own.losses(target, vector) for vector in self.own.weights(target)]
        for way, vector in vectors.items() if self.suite.few and self.suite.few_steps else ():
            losses[f"{way}{FEW}"] = [self.own.losses(target, self._tuned(target, vector))]
        return losses

    def _tuned(self, target: str, vector: Tensor) -> Tensor:
        """Fine-tune a network with few labels."""
        own, network = self.suite, self.own.fresh(target)
        network.load_state_dict(self.own.layout().state(vector), strict=False)
        photos = self.own.photos().labelled[: own.few]
        fitted(network, photos, own.few_steps, min(own.few, own.training.batch), own.training.rate / 3, ("few", target))
        return self.own.layout().vector(network.state_dict())

    def _reuse(self, found: Mapping[str, Tensor], task: str) -> dict[str, float]:
        """Read a known task from predicted encoders, frozen, and from an untrained one: mean losses."""
        own, means = self.suite.correlations, {}
        readout = Readout(steps=own.steps, batch=min(50, own.items), seeds=[0])
        factory, photos = task_factory(self.suite, self.suite.tasks[task]), self.own.photos()
        encoder = encoder_of(self.suite)
        for way, vector in {**found, **self._start()}.items():
            encoder.load_state_dict(self.own.encoder_state(vector), strict=False)
            train_items, test_items = Items(photos.labelled[: own.items], None), Items(photos.test[:100], None)
            losses = readout_losses(Code([encoder]), Pretext(factory), train_items, test_items, readout, task)[0]
            means[way] = sum(losses) / len(losses)
        return means

    def _start(self) -> dict[str, Tensor]:
        """Give the network that all begin with, untrained; of finished runs nobody knows it."""
        name = self.suite.known[0]
        network = None if self.suite.tasks[name].runs else build(self.suite, name)
        return {} if network is None else {START: self.own.layout().vector(network.state_dict())}

    def _keep(self, target: str, way: str, vector: Tensor) -> None:
        """Write a predicted network, and its encoder by itself, which `pretext transfer` takes as a source."""
        folder = self.folder / "predicted" / target
        for file, state in (
            (f"{way.replace(' ', '-')}.pt", self.own.layout().state(vector)),
            (f"{way.replace(' ', '-')}-encoder.pt", self.own.encoder_state(vector)),
        ):
            with whole(folder / file) as draft:
                torch.save(state, draft)


def _why(reason: str) -> Plain:
    return {"failed": reason}
