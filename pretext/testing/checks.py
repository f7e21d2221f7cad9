"""The checks that one batch on one device can make."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import weakref
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.autograd import backward  # the same as loss.backward(), which torch gives no type

from pretext.core.rng import rng, seed_of
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Task, TaskFactory, Tree
from pretext.testing.sitting import build, leaves_of, must, numbers, pose, same, sit, solve

RIGHT_ANSWER_EVERY = 10  # steps between two looks at whether a right answer is told from a wrong one


def check_chance_law(factory: TaskFactory, backbone: Backbone, x: Tree, *, random: bool = True) -> None:
    """Check that the same key poses the same puzzle, whatever was drawn before, and another key another one."""
    task, _ = build(factory, backbone)
    first = pose(task, x)
    torch.rand(1)  # moves torch's own generator on: a task that uses it now draws otherwise
    must(same(first, pose(task, x)), task, "the same key poses different puzzles: draw everything from `rng`")
    # Several keys: one choice among few for the whole batch may well come out the same twice.
    differs = any(not same(first, pose(task, x, "another", key)) for key in range(16))
    if random:
        must(differs, task, "another key poses the same puzzle: draw from `rng` (or pass random=False)")
    else:
        must(not differs, task, "another key poses another puzzle, though it should draw nothing at random")


def check_input_untouched(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a whole step leaves `x` as it was: other tasks are posed from the same batch."""
    task, backbone = build(factory, backbone)
    mine, before = copy.deepcopy(x), copy.deepcopy(x)
    puzzle = pose(task, mine)
    must(same(mine, before), task, "pose changed its input in place: work on a copy")
    backward(solve(task, backbone, puzzle).loss)
    must(same(mine, before), task, "solve or grade changed the input in place: it shares memory with the puzzle")


def check_dtype_and_device(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that puzzles keep the dtype and device of `x` and can be solved: float32, bfloat16, autocast."""
    device = leaves_of(x)[0].device
    for dtype, mixed in ((torch.float32, False), (torch.bfloat16, False), (torch.float32, True)):
        task, net = build(factory, backbone)
        task, net = task.to(dtype), net.to(dtype)
        puzzle = pose(task, mapped(partial(Tensor.to, dtype=dtype), x))
        for name, tree in puzzle._asdict().items():
            for leaf in leaves_of(tree):
                must(leaf.device == device, task, f"{name} is on {leaf.device}, x on {device}")
                same = leaf.dtype == dtype or not leaf.is_floating_point()
                must(same, task, f"{name} is {leaf.dtype} where x is {dtype}: make it in the dtype of x")
        how = f"{dtype}{' with autocast to bfloat16' if mixed else ''}"
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                loss = solve(task, net, puzzle).loss
        except RuntimeError as error:
            raise AssertionError(f"{type(task).__name__}: cannot be solved in {how}: {error}") from error
        must(loss.isfinite(), task, f"the loss is {loss.item()} in {how}")
        must(loss.device == device, task, f"the loss is on {loss.device}, x on {device}")


def check_gradients(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that the gradient reaches the backbone and every parameter of the head, and nothing else."""
    task, backbone = build(factory, backbone)
    puzzle = pose(task, x)
    for name, tree in puzzle._asdict().items():
        for leaf in leaves_of(tree):
            must(not leaf.requires_grad, task, f"{name} carries a gradient: pose it without, or detach it")
    grade = solve(task, backbone, puzzle)
    must(grade.loss.requires_grad, task, "the loss carries no gradient: something detached it")
    backward(grade.loss)
    reached = [p.grad is not None and bool(p.grad.any()) for p in backbone.parameters()]
    must(any(reached), task, "no gradient reaches the backbone: something detaches its features, or a head is all 0")
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad
            must(grad is not None, task, f"no gradient reaches {name}: use it, or freeze it")
            must(grad is not None and grad.isfinite().all(), task, f"the gradient of {name} is not finite")
    for name, score in grade.scores.items():
        must(not score.requires_grad, task, f"the score {name!r} carries a gradient: detach it, it is for the log")


def check_independence(factory: TaskFactory, backbone: Backbone) -> None:
    """Check that the task shares no parameter with the backbone and keeps no reference to it or any part of it."""
    task, net = build(factory, backbone)
    theirs = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers()) if t.numel()}
    for name, mine in (*task.named_parameters(), *task.named_buffers()):
        shared = mine.numel() > 0 and mine.untyped_storage().data_ptr() in theirs
        must(not shared, task, f"{name} is the backbone's own: deep-copy what the task needs of it")
    parts: dict[str, weakref.ref[object]] = {"backbone": weakref.ref(net)}
    for name, module in net.named_modules():
        parts.setdefault(f"backbone's module {name!r}" if name else "backbone", weakref.ref(module))
    parts |= {f"backbone's parameter {name!r}": weakref.ref(part) for name, part in net.named_parameters()}
    del net, module
    if any(part() is not None for part in parts.values()):
        gc.collect()  # what only a cycle holds, nobody holds; it takes long, so only where something is left
    for name, part in parts.items():
        must(part() is None, task, f"keeps a reference to the {name}: read what it needs when it is built")


def check_copies(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a deep copy, a pickled copy and a checkpoint each give the same puzzle and the same prediction."""
    task, backbone = build(factory, backbone)
    task.eval(), backbone.eval()
    puzzle = pose(task, x)
    with torch.no_grad():
        features = backbone(puzzle.question)
        prediction = task.solve(features, puzzle.given)
    ways: dict[str, Callable[[Task], Task]] = {
        "deep copy": copy.deepcopy,
        "pickled copy": lambda task: cast(Task, pickle.loads(pickle.dumps(task))),
        "checkpoint": partial(_reload, factory=factory, backbone=backbone),
    }
    for name, make in ways.items():
        try:
            twin = make(task)
        except Exception as error:
            raise AssertionError(f"{type(task).__name__}: no {name} can be made: {error}") from error
        twin.eval()
        must(same(pose(twin, x), puzzle), task, f"its {name} poses another puzzle: keep state in buffers")
        with torch.no_grad():
            again = twin.solve(features, puzzle.given)
        must(same(again, prediction), task, f"its {name} predicts otherwise: keep state in buffers and parameters")


@torch.no_grad()
def check_alone(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 1e-3, items: int = 8) -> None:
    """Check that in eval mode an item's prediction does not depend on the others of its batch: alone it is the same.

    Every tensor of a question, of what is given and of a prediction whose first dimension is a multiple of N is taken
    to hold the items' rows one item after the other; other tensors are for all items. Up to `items` of the batch are
    looked at. Each number may differ by `tolerance` of the largest prediction, for rounding. (In training, batch norm
    mixes items; `check_content_free` judges whether that leaks.)
    """
    task, net = build(factory, backbone)
    task.eval(), net.eval()
    puzzle, count = pose(task, x), len(leaves_of(x)[0])
    together = task.solve(net(puzzle.question), puzzle.given)
    for i in range(0, count, math.ceil(count / items)):
        mine = partial(_rows, item=i, items=count)
        try:
            alone = task.solve(net(mapped(mine, puzzle.question)), mapped(mine, puzzle.given))
        except (RuntimeError, ValueError, IndexError) as error:
            raise AssertionError(f"{type(task).__name__}: item {i} cannot be solved alone: {error}") from error
        for one, other in zip(leaves_of(alone), leaves_of(mapped(mine, together)), strict=True):
            shapes = f"{tuple(one.shape)} alone and {tuple(other.shape)} among others"
            must(one.shape == other.shape, task, f"the prediction for item {i} has shape {shapes}: keep items apart")
            room = tolerance * other.abs().max().item() + 1e-6 if other.numel() else 0.0
            what = f"item {i} alone is predicted otherwise than among others"
            must(torch.allclose(one, other, rtol=0, atol=room), task, f"{what}: solve each item by itself")


def check_initial_loss(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 0.2) -> None:
    """Check that a new head's loss is within `tolerance` (a share) of `chance()`, and that both score the same."""
    task, backbone = build(factory, backbone)
    grade, blind = sit(task, backbone, x), task.chance()
    for tensor in (grade.loss, blind.loss, *grade.scores.values(), *blind.scores.values()):
        must(tensor.ndim == 0, task, f"a loss or score has shape {tuple(tensor.shape)}, it should be ()")
    mine, theirs = sorted(grade.scores), sorted(blind.scores)
    must(mine == theirs, task, f"grade scores {mine}, but chance {theirs}: give both the same")
    start, expected = grade.loss.item(), blind.loss.item()
    what = (
        f"the loss starts at {start:.4g}, chance is {expected:.4g}: initialise the last layer small, or mend chance()"
    )
    must(abs(start - expected) <= tolerance * abs(expected), task, what)


def check_right_answer(factory: TaskFactory, backbone: Backbone, x: Tree, *, steps: int = 300) -> None:
    """Check that the right answer scores better than a wrong one.

    What a right prediction looks like only the task knows, so it is found: the raw prediction itself, without any
    network, follows the gradient of its grade. Within so many steps there must be one that beats `chance()`, and scores
    worse (also in accuracy, where there is one) when the answers are handed round to the next item for which they
    differ. (Not at every step: where nothing is left to gain, as with a margin that all keep, any answer may be right.)
    """
    task, backbone = build(factory, backbone)
    puzzle = pose(task, x)
    prediction = task.solve(backbone(puzzle.question), puzzle.given)
    free = mapped(lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), prediction)
    optimiser = torch.optim.Adam([leaf for leaf in leaves_of(free) if leaf.requires_grad], lr=0.1)
    swapped, blind, what = _swap(puzzle.answer), numbers(task.chance()), "no step was taken"
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        backward(task.grade(free, puzzle.answer).loss)
        optimiser.step()
        if step % RIGHT_ANSWER_EVERY == 0 or step == steps:
            what = _faults(task, free, puzzle.answer, swapped, blind)
            if not what:
                return
    raise AssertionError(f"{type(task).__name__}: {what}")


@torch.no_grad()
def _faults(task: Task, prediction: Tree, answer: Tree, swapped: Tree | None, blind: dict[str, float]) -> str:
    """Say why a prediction is no better than a blind guess, or for these answers no better than for swapped ones."""
    right = numbers(task.grade(prediction, answer))
    if not right["loss"] < blind["loss"]:
        what = f"the best prediction's loss is {right['loss']:.4g}, a blind guess's {blind['loss']:.4g}"
        return f"{what}: grade or chance is off"
    if swapped is None:
        return ""  # the answer is the same for every item (or none): there is no wrong one to compare with
    wrong = numbers(task.grade(prediction, swapped))
    for name in sorted(right.keys() & {"loss", "accuracy"}):
        better = right[name] > wrong[name] if name == "accuracy" else right[name] < wrong[name]
        if not better:
            what = f"{name} is {right[name]:.4g} for the right answer and {wrong[name]:.4g} for a wrong one"
            return f"{what}: grade ignores or inverts it"
    return ""


def check_destroyed(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a task's destroyed control, if it has one, keeps shapes, the answer and what is given.

    The question must change, the same key must change it alike, and the puzzle that it was made from must stay. It must
    be possible to grade it.
    """
    task, net = build(factory, backbone)
    puzzle = pose(task, x)
    before = mapped(torch.clone, puzzle.question)
    generator = partial(rng, leaves_of(x)[0].device, "contract", "destroyed")
    other = task.destroyed(puzzle, generator())
    if other is None:
        return
    must(same(puzzle.question, before), task, "destroyed changed the puzzle in place: work on a copy")
    for name in ("answer", "given"):
        must(same(getattr(other, name), getattr(puzzle, name)), task, f"destroyed changed what is {name}")
    pairs = zip(leaves_of(other.question), leaves_of(puzzle.question), strict=True)
    alike = all(one.shape == two.shape and one.dtype == two.dtype for one, two in pairs)
    must(alike, task, "destroyed changed the shape or the type of the question")
    must(not same(other.question, puzzle.question), task, "destroyed left the question as it was")
    again = task.destroyed(puzzle, generator())
    must(again is not None and same(again.question, other.question), task, "the same key destroys differently")
    must(solve(task, net, other).loss.isfinite(), task, "a destroyed puzzle cannot be graded")


def _swap(answer: Tree) -> Tree | None:
    """Hand the answers round, to the nearest item for which they differ."""
    leaves = [leaf for leaf in leaves_of(answer) if leaf.ndim > 0]
    for shift in range(1, max((len(leaf) for leaf in leaves), default=0)):
        swapped = mapped(partial(_roll, shift=shift), answer)
        if not same(swapped, answer):
            return swapped
    return None


def _roll(leaf: Tensor, shift: int) -> Tensor:
    return leaf.roll(shift, 0) if leaf.ndim else leaf


def _rows(leaf: Tensor, item: int, items: int) -> Tensor:
    """Take the rows of one of the items, if this is a tensor with rows of items."""
    if leaf.ndim == 0 or len(leaf) % items:
        return leaf
    each = len(leaf) // items
    return leaf[item * each : (item + 1) * each]


def _reload(task: Task, factory: TaskFactory, backbone: Backbone) -> Task:
    """Bring a task back from a checkpoint: a new one, of other initial weights, that loads tensors only."""
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of("another"))
        twin = factory(copy.deepcopy(backbone)).to(next(backbone.parameters()).device)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin
