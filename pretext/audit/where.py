"""https://arxiv.org/abs/1710.11063 (Chattopadhay et al.: Grad-CAM++, WACV 2018): where is the puzzle solved?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pretext.audit.effects import Effects, causal_effects
from pretext.audit.exams import Answering, Exam, exams
from pretext.core.types import Backbone, Features, Panel
from pretext.ops.drawing import heated, mosaic, panels
from pretext.ops.geometric import drawable
from pretext.training.host import Host
from pretext.training.puzzles import Rows

_CELLS = 4  # a side of a map on which a place can be told
_TILES = 9  # pictures of one puzzle that are drawn
_STRONGEST = 10  # effects that are told
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
        for name, exam in exams(module, batch, count):
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
