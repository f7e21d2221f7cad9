"""https://arxiv.org/abs/1710.11063 (Chattopadhay et al.: Grad-CAM++, WACV 2018): where is the puzzle solved?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pretext.audit.effects import Effects, causal_effects
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features, Panel, Puzzle, Task, Tree
from pretext.ops.drawing import heated, mosaic, panels
from pretext.ops.geometric import drawable
from pretext.supervised.adaptation.adaptation import Adaptation
from pretext.supervised.adaptation.advent import AdvEnt
from pretext.supervised.labelled import part
from pretext.supervised.linear_probe import LinearProbe
from pretext.supervised.module import Supervised
from pretext.supervised.segmentation import Segmentation
from pretext.training.host import Host
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows

Answering = Pretrainer | Supervised | Adaptation | AdvEnt
NO_CHOICE = "its answer is no choice but a picture, or numbers: each of them has a place of its own"
_CELLS = 4  # a side of a map on which a place can be told
_TILES = 9  # pictures of one puzzle that are drawn
_STRONGEST = 10  # effects that are told
_NAMED = 8  # most answers that a task's pictures are asked to name
ENDS = (0, -1)


class Effect(NamedTuple):
    """What a pooled feature does to an answer when it is set to the ends of its range."""

    feature: int
    answer: str
    low: float
    """The smallest value of the feature."""
    high: float
    at_low: float
    """By how much the answer's probability is then above its mean over the range."""
    at_high: float


class Where(NamedTuple):
    """What was found of each task, by its name."""

    rows: dict[str, Rows]
    """A picture of each puzzle, and the same with heat over what speaks for the answer that was given."""
    why_not: dict[str, str]
    """Of tasks that are not drawn, the cause."""
    effects: dict[str, list[Effect]]
    """The strongest of heads on pooled features, by which a picture makes an answer of its own."""


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


def where(module: Host, batch: Mapping[str, Any], count: int) -> Where:
    """Find out where the puzzles of a module's image tasks, or the classes of an evaluator, are seen.

    Grad-CAM++ of the score of the answer that is given, on the deepest map of the backbone that has places. Each
    picture's heat is scaled by itself. Needs the library `grad-cam`.

    Args:
        module: trained; it is left as it was.
        batch: {"x", "y" for an evaluator} as loaded, of pictures.
        count: puzzles of each task.

    Raises:
        ValueError: the library is missing, or the module is neither.

    """
    if not isinstance(module, Answering):
        raise ValueError(f"{type(module).__name__} answers nothing; --where wants tasks or an evaluator")
    rows: dict[str, Rows] = {}
    why_not: dict[str, str] = {}
    effects: dict[str, list[Effect]] = {}
    with _left_alone(module):
        for name, exam in _exams(module, batch, count):
            if isinstance(exam, str):
                why_not[name] = exam
                continue
            rows[name] = _drawn(module, exam, count)
            pooled = _pooled(module, exam)
            if pooled is not None:
                effects[name] = _told(causal_effects(*pooled), exam.names)
    return Where(rows, why_not, effects)


def heat(backbone: Backbone, question: Tensor, solve: Callable[[Features], Tensor], puzzle: int) -> Tensor:
    """Find what of pictures (M, 3, H, W) speaks for the answer to one puzzle: (M, H, W) from 0 to 1, by Grad-CAM++.

    Raises:
        ValueError: the library is missing, or no layer gives the backbone's deepest stage.

    """
    try:
        from pytorch_grad_cam import GradCAMPlusPlus
    except ImportError as error:
        raise ValueError("--where needs the library grad-cam: pip install 'pretext-tasks[where]'") from error
    layer = deepest_layer(backbone, question)
    with torch.enable_grad():
        cam = GradCAMPlusPlus(_Answering(backbone, solve, puzzle), [layer])
        try:
            found = torch.from_numpy(cam(question.detach().clone().requires_grad_(), targets=None))
        finally:
            cam.activations_and_grads.release()
            backbone.zero_grad()
    return found


def deepest_layer(backbone: Backbone, question: Tensor) -> nn.Module:
    """Find the layer whose output is the deepest stage of the backbone that has 4 x 4 places, or else more than one.

    Raises:
        ValueError: there is none.

    """
    outputs: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append((layer, output))

    hooks = [layer.register_forward_hook(note) for layer in backbone.modules()]
    with torch.no_grad():
        stages = backbone(question[:1]).stages
    for hook in hooks:
        hook.remove()
    maps = [stage for stage in stages.values() if stage.ndim == 4 and min(stage.shape[2:]) > 1]
    fine = [stage for stage in maps if min(stage.shape[2:]) >= _CELLS]
    best = next(reversed(fine or maps), None)
    found = [layer for layer, output in outputs if best is not None and _same(output, best)]
    if not found:
        raise ValueError(
            f"--where: no layer of {type(backbone).__name__} gives a map of its stages ({', '.join(stages)}) that has "
            "places; show larger pictures, or take another network"
        )
    return found[-1]


class _Answering(nn.Module):
    """Scores the answers to one puzzle, (1, K): all that the library is to see."""

    def __init__(self, backbone: Backbone, solve: Callable[[Features], Tensor], puzzle: int) -> None:
        super().__init__()
        self.backbone, self.solve, self.puzzle = backbone, solve, puzzle

    def forward(self, question: Tensor) -> Tensor:
        return self.solve(self.backbone(question))[self.puzzle : self.puzzle + 1].float()


def _exams(module: Answering, batch: Mapping[str, Any], count: int) -> Iterator[tuple[str, Exam | str]]:
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


def _drawn(module: Host, exam: Exam, count: int) -> Rows:
    """Draw puzzles, and where each was seen."""
    with torch.no_grad():
        scores = exam.solve(module.look(exam.question))
    given, puzzles = scores.argmax(1).cpu(), len(scores)
    chosen = sorted({round(i * (puzzles - 1) / max(1, count - 1)) for i in range(min(count, puzzles))})
    pictures, rows = drawable(exam.question), []
    for p in chosen:
        found = heat(module.backbone, exam.question, exam.solve, p)
        mine = _pictures_of(p, puzzles, found)
        warm = torch.stack([heated(pictures[i], found[i]) for i in mine])
        right = None if exam.answer is None else given[p : p + 1] == exam.answer[p : p + 1].cpu()
        plain = Panel(mosaic(pictures[mine]), "the puzzle")
        rows.append([plain, *panels([mosaic(warm)], exam.says(p, int(given[p])), right)])
    return rows


def _told(found: Effects, names: Callable[[int], str]) -> list[Effect]:
    """Put the strongest effects into words."""
    return [
        Effect(i, names(k), *(float(found.values[i, v]) for v in ENDS), *(float(found.effects[i, v, k]) for v in ENDS))
        for i, k in found.strongest(_STRONGEST)
    ]


def _pictures_of(puzzle: int, puzzles: int, found: Tensor) -> list[int]:
    """List the pictures of a puzzle: its share of them, or else those with heat."""
    each = len(found) // puzzles
    if each and len(found) % puzzles == 0:
        return list(range(puzzle * each, (puzzle + 1) * each))
    return found.amax((1, 2)).nonzero().flatten().tolist()[:_TILES] or [0]


def _pooled(module: Host, exam: Exam) -> tuple[Callable[[Tensor], Tensor], Tensor] | None:
    """Return what makes probabilities of pooled features, and these, where each picture has an answer of its own."""
    with torch.no_grad():
        features = module.look(exam.question)
        scores = exam.solve(features)
    several, own = scores.shape[1] == len(scores), len(scores) == len(features.pooled)
    if not own or several or not _reads_pooled(exam, features):
        return None
    return lambda rows: exam.solve(features._replace(pooled=rows)).float().softmax(1), features.pooled.float()


@torch.no_grad()
def _reads_pooled(exam: Exam, features: Features) -> bool:
    """Tell whether answers depend on the pooled features alone: the maps may be anything."""
    blank = {name: torch.zeros_like(stage) for name, stage in features.stages.items()}
    return torch.equal(exam.solve(features._replace(stages=blank)), exam.solve(features))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.data_ptr() == other.data_ptr()


@contextmanager
def _left_alone(module: nn.Module) -> Iterator[None]:
    """Evaluate, then give every part back the mode it had."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode
