"""Questions to a trained module that have answers to choose from, with what scores them: what `--where` explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.core.types import Features, Puzzle, Task, Tree
from pretext.supervised.adaptation.adaptation import Adaptation
from pretext.supervised.adaptation.advent import AdvEnt
from pretext.supervised.labelled import part
from pretext.supervised.linear_probe import LinearProbe
from pretext.supervised.module import Supervised
from pretext.supervised.segmentation import Segmentation
from pretext.training.pretrainer import Pretrainer

Answering = Pretrainer | Supervised | Adaptation | AdvEnt
NO_CHOICE = "its answer is no choice but a picture, or numbers: each of them has a place of its own"
_NAMED = 8  # most answers that a task's pictures are asked to name


class Exam(NamedTuple):
    """Pictures, and what scores the answers to them."""

    question: Tensor
    """(M, 3, H, W)."""
    solve: Callable[[Features], Tensor]
    """Scores each answer that may be given, (P, K)."""
    answer: Tensor | None
    """(P,) int64: the right ones; none: they are not known."""
    says: Callable[[int, int], str]
    """Says in words which answer was given to a puzzle, by the numbers of both."""
    names: Callable[[int], str]
    """Names an answer."""


def exams(module: Answering, batch: Mapping[str, Any], count: int) -> Iterator[tuple[str, Exam | str]]:
    """Pose the puzzles of each task, or say why not."""
    if "t" in module.backbone.axes or "h" not in module.backbone.axes:
        yield "The run", f"{type(module.backbone).__name__} does not see pictures alone, and only these are drawn"
    elif isinstance(module, Pretrainer):
        x = module.inputs.centre(batch["x"][:count].to(module.device))
        for name, task in module.tasks.items():
            assert isinstance(task, Task)  # ModuleDict forgets that its modules are tasks
            yield name, _posed(module, name, task, x)
    elif isinstance(module, Segmentation | AdvEnt):
        yield "segmentation", NO_CHOICE
    else:
        x = part(batch["x"], module.inputs.modality, type(module).__name__)[:count].to(module.device)
        y, classes = batch["y"][:count] if "y" in batch else None, module.classes
        named = "linear probe" if isinstance(module, LinearProbe) else "classes"
        yield (
            named,
            Exam(
                module.inputs.eval_input(x),
                _classifier(module),
                y,
                lambda _, k: f"prediction: {classes[k]}",
                classes.__getitem__,
            ),
        )


def _posed(module: Pretrainer, name: str, task: Task, x: Tensor) -> Exam | str:
    with torch.no_grad():
        puzzle = task.pose(x, rng(module.device, "show", name))
        prediction = task.solve(module.look(puzzle.question), puzzle.given)
    if task.choice_scores(prediction) is None or not isinstance(puzzle.question, Tensor):
        return NO_CHOICE

    def solve(features: Features) -> Tensor:
        scores = task.choice_scores(task.solve(features, puzzle.given))
        assert scores is not None
        return scores

    drawn = task.draw(puzzle, prediction)
    told = [row[-1].caption for row in drawn] if len(drawn) == len(puzzle.answer) else None

    def says(number: int, answer: int) -> str:
        return f"prediction: number {answer}" if told is None else told[number]

    return Exam(puzzle.question, solve, puzzle.answer, says, _names(task, puzzle, prediction))


def _names(task: Task, puzzle: Puzzle, prediction: Tree) -> Callable[[int], str]:
    """Name each answer as the task's own pictures do, if these tell one from another; else by its number."""
    scores = task.choice_scores(prediction)
    if scores is None or scores is not prediction or scores.shape[1] > _NAMED:
        return lambda k: f"answer {k}"
    alike = torch.eye(scores.shape[1], device=scores.device)[:, None].expand(-1, len(scores), -1)
    said = [task.draw(puzzle, each)[0][-1].caption.partition(": ")[2] for each in alike]
    distinct = all(said) and len(set(said)) == len(said)
    return said.__getitem__ if distinct else lambda k: f"answer {k}"


def _classifier(module: Supervised | Adaptation) -> Callable[[Features], Tensor]:
    """Find what says the classes: of several classifiers that which did best in validation, else the deepest."""
    if isinstance(module, LinearProbe):
        known = module.validation
        stage = max(known, key=lambda name: known[name]) if known else module.stages[-1]
        return lambda features: module.heads[stage](features.stages[stage])
    head: Any = module.head
    return lambda features: head(features.pooled.float())
