"""Train what sits a puzzle for a small budget, and score it on held-out items."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import backward  # the same as loss.backward(), which torch gives no type
from torch.utils.flop_counter import FlopCounterMode

from pretext.audit.controls import GROUPS, OF_EACH, Control, Loaded
from pretext.audit.marks import REMOVED, Marks
from pretext.audit.networks import in_shape_of, measured, small
from pretext.core.rng import rng, seed_of
from pretext.core.tree import leaves, mapped
from pretext.core.types import Backbone, Grade, Puzzle, Task, TaskFactory, Tree
from pretext.training.inputs import InputPipeline

RATE, MEASURED_RATE, DECAY = 3e-3, 1e-2, 0.01  # AdamW's, of networks and of those that read statistics
MOST, FEWEST, VALUES = 128, 8, 600_000  # items of a step, at most so many that their questions hold so many values
OPERATIONS = 2.5e9  # that the forward pass of a step takes at most: some heads cost many times what the network does
PUZZLES, BATCHES = 256, 8  # held-out items sit again and again, until so many; in batches, so many if they have FEWEST
ERROR = "error"  # a task's own loss, where something is added to it, such as an adversary's
SCORES = (*OF_EACH, "ranking")  # shares in [0, 1] that tasks name; else the loss is taken


@dataclass(frozen=True)
class Items:
    """Loaded items, uint8 and int16, or dicts of these by modality.

    Args:
        train: to train on.
        held: to score on.
        inputs: turns them into what a network sees.

    """

    train: Tree
    held: Tree
    inputs: InputPipeline

    def sizes(self) -> tuple[int, int]:
        """Count both."""
        return len(next(leaves(self.train))), len(next(leaves(self.held)))


@dataclass(frozen=True)
class Exam:
    """A task that is to be audited.

    Args:
        name: of the task.
        build: makes it.
        pattern: the backbone that it is for; what sits it here has its stages.
        items: that it is posed from.
        steps: of training.
        seed: first part of the key of every draw.
        device: where it is sat.

    """

    name: str
    build: TaskFactory
    pattern: Backbone
    items: Items
    steps: int
    seed: int
    device: torch.device

    def sample(self) -> tuple[Task, Tree, Puzzle]:
        """Pose a few puzzles of held-out items: the task, the items as they were loaded, and the puzzle."""
        with torch.random.fork_rng():
            torch.manual_seed(seed_of("audit", "sample"))
            task = self.build(self.pattern).to(self.device).eval()
        loaded = _rows(self.items.held, torch.arange(min(FEWEST, self.items.sizes()[1])), self.device)
        with torch.no_grad():
            return task, loaded, task.pose(self.items.inputs.centre(loaded), self.rng("sample"))

    def rng(self, *key: int | str) -> torch.Generator:
        """Draw by a key of this task's own."""
        return rng(self.device, self.seed, "audit", self.name, *key)

    def shown(self, loaded: Tree, puzzle: Puzzle) -> Tree:
        """Give examples of all that a network may be shown: the question, and modalities that it does not have."""
        if not isinstance(puzzle.question, dict):
            return puzzle.question
        return {**self.items.inputs.centre(loaded), **puzzle.question}

    def batch(self, puzzle: Puzzle, items: int) -> int:
        """Say how many items a step takes: as many as a processor has seconds for."""
        values = sum(leaf.numel() for leaf in leaves(puzzle.question)) / items
        most = min(MOST, int(VALUES / values), int(OPERATIONS / self.cost(puzzle, items)), self.items.sizes()[0])
        return max(min(FEWEST, self.items.sizes()[0]), most)

    def cost(self, puzzle: Puzzle, items: int) -> float:
        """Count the floating-point operations of an item's forward pass, which are the same on every machine."""
        _, loaded, _ = self.sample()
        with torch.random.fork_rng(), torch.no_grad(), FlopCounterMode(display=False) as counted:
            torch.manual_seed(seed_of("audit", "cost"))
            net = in_shape_of(self.pattern, self.shown(loaded, puzzle), small).to(self.device).eval()
            task = self.build(net).to(self.device).eval()
            with suppress(Exception):  # what cannot be graded is told of by the cell that tries
                task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)
        operations: int = counted.get_total_flops()
        return max(1.0, operations / items)

    def smallest_batch(self, puzzle: Puzzle, items: int) -> int:
        """Say how many items are scored together at least."""
        return min(map(len, _batches(self.items.sizes()[1], self.batch(puzzle, items))))


def metric_of(chance: Grade) -> tuple[str, float]:
    """Choose what a task is scored by, and say what a blind guess scores."""
    name = next((name for name in SCORES if name in chance.scores), REMOVED)
    return name, float(chance.scores[name]) if name != REMOVED else 0.0


def sit(exam: Exam, control: Control, others: tuple[Control, ...] = ()) -> dict[str, Any]:
    """Train on what a control leaves, score held-out items, and these anew as `others` change them; plain data.

    Raises:
        FloatingPointError: the training diverged.

    """
    begin = time.monotonic()
    _, loaded, puzzle = exam.sample()
    size = exam.batch(puzzle, len(next(leaves(loaded))))
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(exam.seed, "audit", exam.name, control.name))
        make = small if control.describe is None else measured(control.describe)
        net = in_shape_of(exam.pattern, exam.shown(loaded, puzzle), make).to(exam.device).train()
        task = exam.build(net).to(exam.device).train()
        _train(exam, control, task, net, size)
    net.eval(), task.eval()
    found: dict[str, Any] = {"score": _score(exam, control, task, net, size), "items": size}
    for other in others:
        looks = {"score": other.loaded, "against": other.against}
        found[other.name] = {what: _score(exam, control, task, net, size, look) for what, look in looks.items()}
    return {**found, "seconds": time.monotonic() - begin}


def _train(exam: Exam, control: Control, task: Task, net: Backbone, size: int) -> None:
    parameters = [part for part in (*net.parameters(), *task.parameters()) if part.requires_grad]
    rate = RATE if control.describe is None else MEASURED_RATE
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=DECAY)
    count = exam.items.sizes()[0]
    task.begin(0)
    for step in range(exam.steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / exam.steps)
        chosen = torch.randperm(count, generator=rng("cpu", exam.seed, "audit", exam.name, "items", step))[:size]
        draw = partial(exam.rng, control.name, step)
        loaded = _rows(exam.items.train, chosen, exam.device)
        if control.loaded:
            loaded = control.loaded(loaded, draw("loaded"))
        loss = _grade(exam, control, task, net, exam.items.inputs.train_input(loaded, draw("view")), draw("pose")).loss
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()} after {step} steps")
        optimiser.zero_grad()
        if loss.requires_grad:
            backward(loss)
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimiser.step()
        task.follow(net)


def _grade(exam: Exam, control: Control, task: Task, net: Backbone, x: Tree, draw: torch.Generator) -> Grade:
    """Take the exam once."""
    with torch.no_grad():
        puzzle = task.pose(x, draw)
        if control.posed:
            puzzle = control.posed(task, puzzle, draw)
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


@torch.no_grad()
def _score(
    exam: Exam, control: Control, task: Task, net: Backbone, size: int, look: Loaded | None = None
) -> dict[str, Any]:
    """Score held-out items; those of one batch go together, however often they sit. What `Marks` takes."""
    metric, _ = metric_of(task.chance())
    blind = float(_own_loss(task.chance()))
    groups = list(_batches(exam.items.sizes()[1], size))
    rounds = max(1, math.ceil(PUZZLES / sum(map(len, groups))))
    values = []
    for place, group in enumerate(groups):
        each = []
        for turn in range(rounds):
            loaded = _rows(exam.items.held, group, exam.device)
            change = look or control.in_scoring(metric)
            if change:
                loaded = change(loaded, exam.rng("held", "loaded", place, turn))
            x = exam.items.inputs.centre(loaded)
            grade = _grade(exam, control, task, net, x, exam.rng("held", "pose", place, turn))
            each.append(1 - float(_own_loss(grade)) / blind if metric == REMOVED else float(grade.scores[metric]))
        values.append(sum(each) / len(each))
    return vars(Marks(values, [len(group) for group in groups]))


def _own_loss(grade: Grade) -> Tensor:
    """Take the loss without what is added to it: an adversary's part falls where the adversary alone learns."""
    return grade.scores.get(ERROR, grade.loss)


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """Part all of so many items into batches of at most a size, as alike as can be; none is left over."""
    several = max(GROUPS, min(BATCHES, count // FEWEST), math.ceil(count / size))
    yield from torch.arange(count).tensor_split(min(several, count // 2))


def _rows(x: Tree, rows: Tensor, device: torch.device) -> Tree:
    return mapped(lambda leaf: leaf[rows].to(device), x)
