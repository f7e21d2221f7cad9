"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): any task on one of several modalities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor

from pretext.backbones.multimodal import needs_several
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, TaskFactory, Tree


class On(Task):
    """Let a task of one modality train that modality's network of a `MultiModal`.

    The task is built from that network, posed from that modality's data and solved from its features alone, as if
    there were no others; its loss, scores and drawings are its own.

    Args:
        backbone: a `MultiModal`.
        modality: name of one of its networks.
        task: builds the task from that network (the task's class and its other arguments).

    Raises:
        ValueError: the backbone is no `MultiModal`, or has no network of that name.

    """

    def __init__(self, backbone: Backbone, modality: str, task: TaskFactory) -> None:
        super().__init__()
        several = needs_several(self, backbone, "give the task itself, without On")
        names = ", ".join(several.dims)
        got = f"modality is {modality!r}, but the backbone has networks for {names} only"
        require(modality in several.dims, self, got, "choose one of these, or add a network")
        self.modality = modality
        self.task = task(several.network(modality))

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Pose the task from one modality of a batch; the question is a dict of that one.

        Raises:
            ValueError: `x` lacks the modality.

        """
        if not isinstance(x, dict) or self.modality not in x:
            several = isinstance(x, dict)
            got = f"a batch of {', '.join(x)}; add it to" if several else "a single modality; name it and another in"
            raise ValueError(f"On: the task wants {self.modality!r}, got {got} the data module's modalities")
        puzzle = self.task.pose(x[self.modality], rng)
        return puzzle._replace(question={self.modality: puzzle.question})

    def solve(self, features: dict[str, Features], given: Tree) -> Tree:
        return self.task.solve(features[self.modality], given)

    def grade(self, prediction: Tree, answer: Tree) -> Grade:
        return self.task.grade(prediction, answer)

    def chance(self) -> Grade:
        return self.task.chance()

    def draw(self, puzzle: Puzzle, prediction: Tree | None) -> Sequence[Sequence[Panel]]:
        return self.task.draw(puzzle._replace(question=puzzle.question[self.modality]), prediction)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle | None:
        inside = self.task.destroyed(puzzle._replace(question=puzzle.question[self.modality]), rng)
        return None if inside is None else inside._replace(question={self.modality: inside.question})

    def begin(self, epoch: int) -> None:
        self.task.begin(epoch)

    def follow(self, backbone: Backbone) -> None:
        self.task.follow(needs_several(self, backbone).network(self.modality))

    def extra_repr(self) -> str:
        return f"modality={self.modality!r}, {type(self.task).__name__}({self.task.extra_repr()})"
