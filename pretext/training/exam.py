"""The exam, in one place: pose, look, solve, grade."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import unwrap
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from pretext.core.errors import described, name_of, require
from pretext.core.rng import rng
from pretext.core.tree import leaves, mapped
from pretext.core.types import Grade, Puzzle, Seen, Tree
from pretext.training.host import Host

Parts = tuple[Callable[..., Puzzle], Callable[..., Tree], Callable[..., Grade]]
"""What poses, solves and grades."""
CHECKED: dict[bool, WeakSet[Any]] = {True: WeakSet(), False: WeakSet()}
"""Tasks whose exam was found to be lawful once, with gradients and without: to look at each would cost every step."""
TELLS = "pretext.testing.check_task tells more"
OF_TYPES = re.compile(r"dtype|scalar type|Input type")
"""What torch says where two types meet."""


def examined(host: Host, parts: Parts, x: Tree, *key: int | str) -> Grade:
    """Let a host's backbone sit an exam on `x` (N, C, *S) in [0, 1], or a dict of these; `key` is that of chance.

    Raises:
        ValueError: at a task's first exam: `pose` gives no puzzle, `grade` no grade, or one with a loss or a score that
            is no single number, or with a loss that nothing can be learnt from; network and task have different types.

    """
    task = getattr(parts[2], "__self__", parts[2])  # what is compiled stands for itself
    checked = CHECKED[torch.is_grad_enabled()]
    if task in checked:
        return _sat(host, parts, x, *key)
    grade = _first(host, parts, x, *key)
    checked.add(task)
    return grade


def _sat(host: Host, parts: Parts, x: Tree, *key: int | str) -> Grade:
    exact = torch.autocast(host.device.type, enabled=False)  # questions and grades keep full precision under bf16
    pose, solve, grade = parts
    with torch.no_grad(), exact:
        puzzle = pose(x, rng(host.device, *key))
    prediction = solve(host.look(puzzle.question), puzzle.given)
    with exact:
        return grade(mapped(_whole, prediction), puzzle.answer)


def _whole(x: Tensor) -> Tensor:
    """Bring floats to full precision."""
    return x.float() if x.is_floating_point() else x


def _first(host: Host, parts: Parts, x: Tree, *key: int | str) -> Grade:
    """Sit an exam and look at what its task gives, around the parts, which may be compiled. Raises as `examined`."""
    pose, solve, grade = parts
    task = getattr(unwrap(grade), "__self__", "a task")
    own = list(task.parameters()) if isinstance(task, nn.Module) else []
    learns = [parameter.requires_grad for parameter in own]

    def posed(*asked: Any) -> Puzzle:
        puzzle = pose(*asked)
        wanted = f"return pretext.Puzzle(question, answer); {TELLS}"
        require(isinstance(puzzle, Puzzle), task, f"pose returned {described(puzzle)}", wanted)
        return puzzle

    def solved(features: Seen, given: Tree) -> Tree:
        learns.extend(leaf.requires_grad for leaf in leaves(features))
        return solve(features, given)

    try:
        given = _sat(host, (posed, solved, grade), x, *key)
    except RuntimeError as error:
        _explain(error, host.backbone, task)
        raise
    _check_grade(given, task)
    feels = given.loss.requires_grad or not torch.is_grad_enabled() or not any(learns)
    wanted = f"compute it from the prediction without detach, item or no_grad; {TELLS}"
    require(feels, task, "the loss of grade carries no gradient", wanted)
    return given


def _check_grade(grade: object, task: object) -> None:
    """Refuse what is no grade."""
    wanted = f"return pretext.Grade(loss, scores); {TELLS}"
    require(isinstance(grade, Grade), task, f"grade returned {described(grade)}", wanted)
    assert isinstance(grade, Grade)
    lawful = _is_single(grade.loss) and grade.loss.is_floating_point()
    wanted = f"give a floating-point tensor of shape (), such as a mean over the items; {TELLS}"
    require(lawful, task, f"the loss of grade is {_told(grade.loss)}", wanted)
    wanted = f"give a dict of tensors by name, or an empty one; {TELLS}"
    require(isinstance(grade.scores, Mapping), task, f"the scores of grade are {described(grade.scores)}", wanted)
    for name, score in grade.scores.items():
        wanted = f"give a tensor of shape (), on the device of the loss; {TELLS}"
        require(_is_single(score), task, f"the score {name!r} of grade is {_told(score)}", wanted)


def _is_single(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0


def _told(value: object) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else described(value)


def _explain(error: RuntimeError, backbone: nn.Module, task: object) -> None:
    """Say what to do where an exam failed because network and task have weights of different types.

    Not before it failed: a task may bring what it reads to its own type, and a trainer may bring all to one.
    """
    modules = [module for module in (backbone, task) if isinstance(module, nn.Module)]
    weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights if tensor.is_floating_point()})
    if len(kinds) > 1 and OF_TYPES.search(str(error)):
        raise ValueError(
            f"{name_of(task)}: its weights and those of {name_of(backbone)} are {' and '.join(kinds)}; keep a network "
            "in float32, network.float(), and ask the trainer for what to compute in: --trainer.precision bf16-mixed"
        ) from error
