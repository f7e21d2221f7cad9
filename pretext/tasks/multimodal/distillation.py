"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): what does another modality's network see?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.backbones.multimodal import pair_of
from pretext.core.errors import require
from pretext.core.ranks import gathered, mean
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, Tree
from pretext.nn.heads import small
from pretext.nn.teachers import Teacher, TeacherFactory
from pretext.ops.drawing import panels, rows, stripes, thumbnail
from pretext.ops.temporal import same_moment
from pretext.ops.tiles import swap_places

POOLED = "pooled"
DULL = 1e-3  # mean square under which targets are alike: they are not magnified further

Vectors = tuple[Tensor, ...]
"""Of each pair of stages one vector per item, (N, D_i), or one map, (N, D_i, *G_i)."""


class Distillation(Task):
    """Predict the features that another modality's network has of the same clip, from those of the main one.

    Stages are averaged over their grids, and a linear adapter turns each of the student's into a guess at the
    teacher's. The adapter is there also where both have the same size: their units have no common order.

    What is guessed is how a clip differs from the others: the teacher's vectors are standardised each by itself
    (without weights), the batch's mean is taken off, and all are brought to a mean square of 1. The loss is the mean
    squared error, so that 0, the best guess without a look, costs exactly 1 whatever the batch; a teacher
    that is trained along can gain nothing by shrinking, nor by seeing the same in every clip. The scores are the same
    error stage by stage. A single clip, such as a validation set may leave over, differs from nothing and costs 1.

    That is not ELo's loss, which is the plain distance |L - M| of two layers: `compare="maps"`. Then there are neither
    averages nor adapters, and both maps of a pair must have one shape. The loss is the distance, averaged over the
    clips, over what guessing 0 costs (without a gradient of its own). A student that begins elsewhere costs more.

    Where the gradient goes:

    - without a `copy` the teacher is the other network of the backbone, trained by its own tasks. With `detach` none of
      this loss reaches it; without, it is also taught to be predictable from the student. It looks in the mode that the
      backbone is in, in training with the batch's own statistics, as its own tasks do;
    - `Frozen` is a copy of the other network as it is when the task is built. A config builds it at random; to distil a
      trained one, load its weights in Python before `Pretrainer` is built;
    - `Momentum` is a copy that follows the other network slowly. Copies look with running statistics (a momentum copy
      takes over those of its network), so that what they see in a clip does not depend on its batch, and in full
      precision; their network in the backbone gets no gradient, and unless another task asks it, is not even run.

    Args:
        backbone: a `MultiModal`.
        student: the modality whose network learns.
        teacher: the modality whose network is guessed.
        stages: names of stages that both have, or a dict from the student's to the teacher's; "pooled" are the pooled
            features, which none stands for.
        copy: makes the teacher of the other network (`pretext.nn.teachers`), see above; none: that network itself.
        detach: whether the teacher is spared the gradient; False only without a copy.
        frames: length of the clips, from a random place in their windows; none: the whole windows.
        compare: "standardised" vectors, or the raw "maps" as in ELo.

    Raises:
        ValueError: the backbone has no such two networks or stages, or an argument is out of its range.

    """

    copy: Teacher | None

    def __init__(
        self,
        backbone: Backbone,
        student: str = "rgb",
        teacher: str = "flow",
        stages: list[str] | dict[str, str] | None = None,
        copy: TeacherFactory | None = None,
        detach: bool = True,
        frames: int | None = None,
        compare: Literal["standardised", "maps"] = "standardised",
    ) -> None:
        super().__init__()
        learns, teaches = pair_of(self, backbone, student, teacher)
        require(detach or copy is None, self, f"{detach=} with a copy", "leave one out, since a copy is never taught")
        require(frames is None or frames >= 1, self, f"{frames=}", "give at least 1, or none for whole windows")
        require(compare in ("standardised", "maps"), self, f"{compare=}", 'choose "standardised" or "maps"')
        names = [POOLED] if stages is None else stages
        self.stages = dict(names) if isinstance(names, dict) else {name: name for name in names}
        self.student, self.teacher, self.detach, self.frames = student, teacher, detach, frames
        self.compare = compare
        sizes = zip(_sizes(learns, list(self.stages)), _sizes(teaches, list(self.stages.values())), strict=True)
        adapters = [nn.Linear(one, other) for one, other in sizes if compare == "standardised"]
        self.adapters = nn.ModuleList(map(small, adapters))  # they guess almost 0 at first
        self.copy = None if copy is None else copy(teaches)

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Cut the same moment out of both windows; the answer is what a copy sees, or none with a joint teacher.

        Raises:
            ValueError: `x` lacks a modality, or its windows are too short.

        """
        clips = same_moment(self, x, self.student, self.teacher, self.frames, rng)
        if self.copy is None:
            return Puzzle(clips, None)
        shown = clips.pop(self.teacher)
        features = self.copy(shown.to(next(self.copy.parameters()).dtype))
        return Puzzle(clips, tuple(part.to(shown.dtype) for part in self._seen(features, self.stages.values())))

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Show the student clips of other items than those that the teacher sees."""
        shown = swap_places(puzzle.question[self.student].unsqueeze(1), rng)[:, 0]
        return puzzle._replace(question={**puzzle.question, self.student: shown})

    def solve(self, features: dict[str, Features], given: None) -> Tree:
        """Give guesses (N, D_i) of each stage, or its maps; beside them what the teacher saw if it is joint."""
        guesses = self._seen(features[self.student], self.stages)
        if self.compare == "standardised":
            guesses = tuple(adapter(part) for adapter, part in zip(self.adapters, guesses, strict=True))
        if self.copy is not None:
            return guesses
        theirs = self._seen(features[self.teacher], self.stages.values())
        return guesses, tuple(part.detach() for part in theirs) if self.detach else theirs

    def grade(self, prediction: Tree, answer: Vectors | None) -> Grade:
        guesses, taught = self._sides(prediction, answer)
        if self.compare == "maps":
            errors = [_distance(guess.float(), part.float()) for guess, part in zip(guesses, taught, strict=True)]
            return self._averaged(errors)
        guesses, taught = (tuple(map(gathered, side)) for side in (guesses, taught))
        if len(guesses[0]) == 1:
            nothing = torch.stack([0 * part.float().sum() for part in guesses]).sum()
            return self.chance()._replace(loss=1 + nothing)
        errors = [_error(guess.float(), targets(part)) for guess, part in zip(guesses, taught, strict=True)]
        return self._averaged(errors)

    def chance(self) -> Grade:
        """Return what guessing 0 costs."""
        return Grade(torch.tensor(1.0), {name: torch.tensor(1.0) for name in self.stages})

    def draw(self, puzzle: Puzzle, prediction: Tree | None) -> list[list[Panel]]:
        """Draw each clip, what a joint teacher looks at, and the deepest target above its guess with the error."""
        columns = [
            panels(map(thumbnail, puzzle.question[self.student]), f"what does the network of {self.teacher} see?")
        ]
        if self.copy is None:
            columns.append(panels(map(thumbnail, puzzle.question[self.teacher]), "answer: its features of this"))
        if prediction is not None:
            guesses, taught = (side[-1].detach().float().cpu() for side in self._sides(prediction, puzzle.answer))
            if self.compare == "maps":
                guesses, wanted = (part.flatten(2).mean(2) if part.ndim > 2 else part for part in (guesses, taught))
            else:
                wanted = targets(taught)
            errors = (guesses - wanted).square().sum(1) / wanted.square().sum(1).clamp(min=DULL)
            alone = len(wanted) == 1 and self.compare == "standardised"
            told = [
                "alone, a clip differs from nothing" if alone else f"relative error {x:.2f}" for x in errors.tolist()
            ]
            captions = [f"target above, prediction below: {what}" for what in told]
            columns.append(panels(map(stripes, wanted, guesses), captions, None if alone else errors < 1))
        return rows(*columns)

    def follow(self, backbone: Backbone) -> None:
        """Let a momentum teacher follow its network."""
        if self.copy is not None:
            self.copy.follow(pair_of(self, backbone, self.student, self.teacher)[1])

    def extra_repr(self) -> str:
        copy = None if self.copy is None else type(self.copy).__name__
        names = f"student={self.student!r}, teacher={self.teacher!r}, stages={self.stages}"
        return f"{names}, copy={copy}, detach={self.detach}, frames={self.frames}, compare={self.compare!r}"

    def _averaged(self, errors: list[Tensor]) -> Grade:
        """Average the errors of the stages, and score each."""
        scores = {name: error.detach() for name, error in zip(self.stages, errors, strict=True)}
        return Grade(torch.stack(errors).mean(), scores)

    def _seen(self, features: Features, names: Iterable[str]) -> Vectors:
        """Read stages as they are compared."""
        if self.compare == "standardised":
            return _vectors(features, names)
        return tuple(features.pooled if name == POOLED else features.stages[name] for name in names)

    def _sides(self, prediction: Tree, answer: Vectors | None) -> tuple[Vectors, Vectors]:
        """Part the guesses from what the teacher saw."""
        if answer is not None:
            return prediction, answer
        guesses, taught = prediction
        return guesses, taught


def targets(vectors: Tensor) -> Tensor:
    """Tell how vectors (N, D) differ: standardise each, subtract the batch's mean, scale all to a mean square of 1."""
    apart = functional.layer_norm(vectors.float(), vectors.shape[1:])
    apart = apart - apart.mean(0)
    return apart * apart.square().mean().clamp(min=DULL).rsqrt()


def _error(guess: Tensor, target: Tensor) -> Tensor:
    """Measure the mean squared error; for a guess of 0 exactly 1 also where targets are too much alike to be scaled."""
    return 1 + ((guess - target).square() - target.square()).mean()


def _distance(guess: Tensor, target: Tensor) -> Tensor:
    """Measure |guess - target| of each item, averaged, over the same of a guess of 0.

    Raises:
        ValueError: the shapes differ.

    """
    got = f"maps {tuple(guess.shape)} of the student and {tuple(target.shape)} of the teacher"
    wanted = 'choose stages of one shape, or compare="standardised", which averages and adapts them'
    require(guess.shape == target.shape, "Distillation", got, wanted)
    blind = mean(target.detach().flatten(1).norm(dim=1)).clamp(min=DULL)
    distance: Tensor = mean((guess - target).flatten(1).norm(dim=1)) / blind
    return distance


def _vectors(features: Features, names: Iterable[str]) -> Vectors:
    """Read stages, averaged over their grids: (N, D_i) each."""
    return tuple(features.pooled if name == POOLED else features.stages[name].flatten(2).mean(2) for name in names)


def _sizes(network: Backbone, names: list[str]) -> list[int]:
    """Tell the sizes of some stages."""
    sizes = {POOLED: network.dim, **network.stages}
    unknown = [name for name in names if name not in sizes]
    got = f"stages {unknown} of a {type(network).__name__}, which has {', '.join(sizes)}"
    wanted = "choose of these, as {student's: teacher's} where names differ, or none for pooled"
    require(bool(names) and not unknown, "Distillation", got, wanted)
    narrow = [name for name in names if sizes[name] < 2]
    got = f"stages {narrow} have a single channel, which is 0 when standardised"
    require(not narrow, "Distillation", got, "drop them")
    return [sizes[name] for name in names]
