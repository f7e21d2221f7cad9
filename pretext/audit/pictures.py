"""What each control leaves of a task's puzzles, to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.audit.controls import Control
from pretext.audit.plan import controls_of
from pretext.audit.run import WHOLE
from pretext.audit.sitting import Exam, metric_of
from pretext.core.tree import leaves, mapped
from pretext.core.types import Panel, Puzzle, Task
from pretext.ops.drawing import bars
from pretext.training.puzzles import Rows

ITEMS = 4  # that are posed, of which some puzzles are drawn
SHOWN = 2


@torch.no_grad()
def drawings(exam: Exam) -> dict[str, Rows]:
    """Draw a few puzzles of a task as each control leaves them, by the control's title; numbers are drawn as bars."""
    task, _, _ = exam.sample()
    every = [WHOLE, *(control for control, refusal in controls_of(exam) if not refusal)]
    drawn = {}
    for control in every:
        numbers = control.describe and not control.posed
        rows = _numbers(exam, control, task) if numbers else _puzzles(exam, control, task)
        drawn[f"({control.letter}) {control.title}"] = rows
    return drawn


def _posed(exam: Exam, control: Control, task: Task) -> Puzzle:
    loaded = mapped(lambda leaf: leaf[:ITEMS].to(exam.device), exam.items.held)
    if change := control.in_scoring(metric_of(task.chance())[0]):
        loaded = change(loaded, exam.rng("draw", "loaded"))
    puzzle = task.pose(exam.items.inputs.centre(loaded), exam.rng("draw", "pose"))
    return control.posed(task, puzzle, exam.rng("draw", "posed")) if control.posed else puzzle


def _puzzles(exam: Exam, control: Control, task: Task) -> Rows:
    rows = task.draw(_posed(exam, control, task), None)
    step = max(1, len(rows) // SHOWN)
    return rows[::step][:SHOWN]


def _numbers(exam: Exam, control: Control, task: Task) -> Rows:
    """Draw the numbers that are shown of the first questions, each between the least and the most of all of them."""
    assert control.describe is not None
    question = _posed(exam, control, task).question
    known = [(leaf, control.describe(leaf)) for leaf in leaves(question)]
    measured = [numbers for _, numbers in known if numbers is not None]
    panels = [[Panel(_drawn(numbers, row), control.title) for numbers in measured] for row in range(SHOWN)]
    return panels


def _drawn(numbers: Tensor, row: int) -> Tensor:
    low, high = numbers.amin(0), numbers.amax(0)
    heights = (numbers - low) / (high - low).clamp(min=1e-6)
    return bars(heights[row % len(heights)][None].cpu().float())[0].float()
