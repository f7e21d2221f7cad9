"""The contract every task keeps, as plain functions that a plug-in's own tests call.

`check_task` runs them all. Each raises an AssertionError that names what is broken; none needs pytest. Give a small
backbone and a small batch: they train a little.

    from pretext.testing import check_task

    def test_my_task():
        check_task(MyTask, backbone, torch.rand(8, 3, 32, 32))

`factory` is what a config would name: the task's class, or a `functools.partial` of it.
"""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd import backward  # the same as loss.backward(), which torch gives no type

from pretext.core.ranks import together
from pretext.core.rng import rng, seed_of
from pretext.core.tree import leaves, mapped
from pretext.core.types import Backbone, Grade, Puzzle, Task, TaskFactory, Tree

Content = Literal["noise", "constant"]


def check_task(
    factory: TaskFactory,
    backbone: Backbone,
    x: Tree,
    *,
    random: bool = True,
    kinds: tuple[Content, ...] = ("noise", "constant"),
) -> None:
    """Check all of the contract on a task made by `factory` for `backbone`, posed from `x`.

    Args:
        factory: makes the task.
        backbone: is copied, never changed.
        x: (N, C, *S) in [0, 1] or a dict of them, float32, N >= 4; real content is best.
        random: whether another key poses another puzzle; False where a pose draws nothing at random: that is checked.
        kinds: the content without information that must teach nothing; leave out what a task may rightly learn from
            (a constant image can be inpainted), or pass ().

    """
    check_input_untouched(factory, backbone, x)  # first: the others trust `x` to stay
    check_chance_law(factory, backbone, x, random=random)
    check_dtype_and_device(factory, backbone, x)
    check_gradients(factory, backbone, x)
    check_independence(factory, backbone)
    check_copies(factory, backbone, x)
    check_alone(factory, backbone, x)
    check_initial_loss(factory, backbone, x)
    check_right_answer(factory, backbone, x)
    check_ranks(factory, backbone, x)
    check_destroyed(factory, backbone, x)
    if kinds:
        check_content_free(factory, backbone, x, kinds=kinds)


def check_chance_law(factory: TaskFactory, backbone: Backbone, x: Tree, *, random: bool = True) -> None:
    """Check that the same key poses the same puzzle, whatever was drawn before, and another key another one."""
    task, _ = _build(factory, backbone)
    first = _pose(task, x)
    torch.rand(1)  # moves torch's own generator on: a task that uses it now draws otherwise
    _must(_same(first, _pose(task, x)), task, "the same key poses different puzzles: draw everything from `rng`")
    # Several keys: one choice among few for the whole batch may well come out the same twice.
    differs = any(not _same(first, _pose(task, x, "another", key)) for key in range(16))
    if random:
        _must(differs, task, "another key poses the same puzzle: draw from `rng` (or pass random=False)")
    else:
        _must(not differs, task, "another key poses another puzzle, though it should draw nothing at random")


def check_input_untouched(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a whole step leaves `x` as it was: other tasks are posed from the same batch."""
    task, backbone = _build(factory, backbone)
    mine, before = copy.deepcopy(x), copy.deepcopy(x)
    puzzle = _pose(task, mine)
    _must(_same(mine, before), task, "pose changed its input in place: work on a copy")
    backward(_solve(task, backbone, puzzle).loss)
    _must(_same(mine, before), task, "solve or grade changed the input in place: it shares memory with the puzzle")


def check_dtype_and_device(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that puzzles keep the dtype and device of `x` and can be solved: float32, bfloat16, autocast."""
    device = _leaves(x)[0].device
    for dtype, mixed in ((torch.float32, False), (torch.bfloat16, False), (torch.float32, True)):
        task, net = _build(factory, backbone)
        task, net = task.to(dtype), net.to(dtype)
        puzzle = _pose(task, mapped(partial(Tensor.to, dtype=dtype), x))
        for name, tree in puzzle._asdict().items():
            for leaf in _leaves(tree):
                _must(leaf.device == device, task, f"{name} is on {leaf.device}, x on {device}")
                same = leaf.dtype == dtype or not leaf.is_floating_point()
                _must(same, task, f"{name} is {leaf.dtype} where x is {dtype}: make it in the dtype of x")
        how = f"{dtype}{' with autocast to bfloat16' if mixed else ''}"
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                loss = _solve(task, net, puzzle).loss
        except RuntimeError as error:
            raise AssertionError(f"{type(task).__name__}: cannot be solved in {how}: {error}") from error
        _must(loss.isfinite(), task, f"the loss is {loss.item()} in {how}")
        _must(loss.device == device, task, f"the loss is on {loss.device}, x on {device}")


def check_gradients(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that the gradient reaches the backbone and every parameter of the head, and nothing else."""
    task, backbone = _build(factory, backbone)
    puzzle = _pose(task, x)
    for name, tree in puzzle._asdict().items():
        for leaf in _leaves(tree):
            _must(not leaf.requires_grad, task, f"{name} carries a gradient: pose it without, or detach it")
    grade = _solve(task, backbone, puzzle)
    _must(grade.loss.requires_grad, task, "the loss carries no gradient: something detached it")
    backward(grade.loss)
    reached = [p.grad is not None and bool(p.grad.any()) for p in backbone.parameters()]
    _must(any(reached), task, "no gradient reaches the backbone: something detaches its features, or a head is all 0")
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad
            _must(grad is not None, task, f"no gradient reaches {name}: use it, or freeze it")
            _must(grad is not None and grad.isfinite().all(), task, f"the gradient of {name} is not finite")
    for name, score in grade.scores.items():
        _must(not score.requires_grad, task, f"the score {name!r} carries a gradient: detach it, it is for the log")


def check_independence(factory: TaskFactory, backbone: Backbone) -> None:
    """Check that the task shares no parameter with the backbone and keeps no reference to it or any part of it."""
    task, net = _build(factory, backbone)
    theirs = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers()) if t.numel()}
    for name, mine in (*task.named_parameters(), *task.named_buffers()):
        shared = mine.numel() > 0 and mine.untyped_storage().data_ptr() in theirs
        _must(not shared, task, f"{name} is the backbone's own: deep-copy what the task needs of it")
    parts: dict[str, weakref.ref[object]] = {"backbone": weakref.ref(net)}
    for name, module in net.named_modules():
        parts.setdefault(f"backbone's module {name!r}" if name else "backbone", weakref.ref(module))
    parts |= {f"backbone's parameter {name!r}": weakref.ref(part) for name, part in net.named_parameters()}
    del net, module
    gc.collect()
    for name, part in parts.items():
        _must(part() is None, task, f"keeps a reference to the {name}: read what it needs when it is built")


def check_copies(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a deep copy, a pickled copy and a checkpoint each give the same puzzle and the same prediction."""
    task, backbone = _build(factory, backbone)
    task.eval(), backbone.eval()
    puzzle = _pose(task, x)
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
        _must(_same(_pose(twin, x), puzzle), task, f"its {name} poses another puzzle: keep state in buffers")
        with torch.no_grad():
            again = twin.solve(features, puzzle.given)
        _must(_same(again, prediction), task, f"its {name} predicts otherwise: keep state in buffers and parameters")


@torch.no_grad()
def check_alone(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 1e-3, items: int = 8) -> None:
    """Check that in eval mode an item's prediction does not depend on the others of its batch: alone it is the same.

    Every tensor of a question, of what is given and of a prediction whose first dimension is a multiple of N is taken
    to hold the items' rows one item after the other; other tensors are for all items. Up to `items` of the batch are
    looked at. Each number may differ by `tolerance` of the largest prediction, for rounding. (In training, batch norm
    mixes items; `check_content_free` judges whether that leaks.)
    """
    task, net = _build(factory, backbone)
    task.eval(), net.eval()
    puzzle, count = _pose(task, x), len(_leaves(x)[0])
    together = task.solve(net(puzzle.question), puzzle.given)
    for i in range(0, count, math.ceil(count / items)):
        mine = partial(_rows, item=i, items=count)
        try:
            alone = task.solve(net(mapped(mine, puzzle.question)), mapped(mine, puzzle.given))
        except (RuntimeError, ValueError, IndexError) as error:
            raise AssertionError(f"{type(task).__name__}: item {i} cannot be solved alone: {error}") from error
        for one, other in zip(_leaves(alone), _leaves(mapped(mine, together)), strict=True):
            shapes = f"{tuple(one.shape)} alone and {tuple(other.shape)} among others"
            _must(one.shape == other.shape, task, f"the prediction for item {i} has shape {shapes}: keep items apart")
            room = tolerance * other.abs().max().item() + 1e-6 if other.numel() else 0.0
            what = f"item {i} alone is predicted otherwise than among others"
            _must(torch.allclose(one, other, rtol=0, atol=room), task, f"{what}: solve each item by itself")


def check_initial_loss(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 0.2) -> None:
    """Check that a new head's loss is within `tolerance` (a share) of `chance()`, and that both score the same."""
    task, backbone = _build(factory, backbone)
    grade, blind = _sit(task, backbone, x), task.chance()
    for tensor in (grade.loss, blind.loss, *grade.scores.values(), *blind.scores.values()):
        _must(tensor.ndim == 0, task, f"a loss or score has shape {tuple(tensor.shape)}, it should be ()")
    mine, theirs = sorted(grade.scores), sorted(blind.scores)
    _must(mine == theirs, task, f"grade scores {mine}, but chance {theirs}: give both the same")
    start, expected = grade.loss.item(), blind.loss.item()
    what = (
        f"the loss starts at {start:.4g}, chance is {expected:.4g}: initialise the last layer small, or mend chance()"
    )
    _must(abs(start - expected) <= tolerance * abs(expected), task, what)


def check_right_answer(factory: TaskFactory, backbone: Backbone, x: Tree, *, steps: int = 300) -> None:
    """Check that the right answer scores better than a wrong one.

    What a right prediction looks like only the task knows, so it is found: the raw prediction itself, without any
    network, follows the gradient of its grade. It must then beat `chance()`, and score worse (also in accuracy, where
    there is one) when the answers are handed round to the next item for which they differ.
    """
    task, backbone = _build(factory, backbone)
    puzzle = _pose(task, x)
    prediction = task.solve(backbone(puzzle.question), puzzle.given)
    free = mapped(lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), prediction)
    optimiser = torch.optim.Adam([leaf for leaf in _leaves(free) if leaf.requires_grad], lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        backward(task.grade(free, puzzle.answer).loss)
        optimiser.step()
    right, blind = _numbers(task.grade(free, puzzle.answer)), _numbers(task.chance())
    what = f"the best prediction's loss is {right['loss']:.4g}, a blind guess's {blind['loss']:.4g}"
    _must(right["loss"] < blind["loss"], task, f"{what}: grade or chance is off")
    swapped = _swap(puzzle.answer)
    if swapped is None:
        return  # the answer is the same for every item (or none): there is no wrong one to compare with
    wrong = _numbers(task.grade(free, swapped))
    for name in right.keys() & {"loss", "accuracy"}:
        better = right[name] > wrong[name] if name == "accuracy" else right[name] < wrong[name]
        what = f"{name} is {right[name]:.4g} for the right answer and {wrong[name]:.4g} for a wrong one"
        _must(better, task, f"{what}: grade ignores or inverts it")


class _Part(NamedTuple):
    """What a rank did with its part of a batch."""

    puzzle: Puzzle
    gradients: Tensor


def check_ranks(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 1e-3) -> None:
    """Check that two ranks train what one process would: the mean of their gradients is that of the whole batch.

    The ranks are two threads, joined by a process group of torch's, which pose half of `x` each with a key of their
    own. One process then solves what they posed, and grades it. Batch norm and dropout are in eval mode, because torch
    joins the statistics of several ranks on accelerators alone. An answer of whole numbers may be the rows of items (as
    that of `Contrast` is); in the whole batch they are counted on. Without torch's gloo nothing is checked.
    """
    if not (distributed.is_available() and distributed.is_gloo_available()):
        return
    parts = _on_two_ranks(factory, backbone, x)
    joined = (parts[0].gradients + parts[1].gradients) / 2
    puzzles, items = [part.puzzle for part in parts], len(_leaves(x)[0]) // 2
    off = math.inf
    for rows in (False, True):  # answers as they are, then as rows of the whole batch
        task, net = _plain(*_build(factory, backbone))
        whole = _whole(task, puzzles, items, rows)
        try:
            grade = _solve(task, net, whole)
        except (IndexError, RuntimeError):  # rows that are none
            continue
        alone = _gradients(task, net, grade)
        off = min(off, float((joined - alone).norm() / alone.norm()))
    what = f"the mean gradient of two ranks differs from that of one process by {off:.2g} of its length"
    how = "where a grade compares items or divides by what the batch has in common, ask pretext.core.ranks"
    _must(off <= tolerance, task, f"{what}: {how}")


def _on_two_ranks(factory: TaskFactory, backbone: Backbone, x: Tree) -> list[_Part]:
    """Let two ranks sit their halves of a batch; a rank waits for the other 60 s at most."""
    half = len(_leaves(x)[0]) // 2

    def sit(rank: int) -> _Part:
        task, net = nets[rank]
        mine = mapped(lambda leaf: leaf[rank * half : (rank + 1) * half], x)
        with together(groups[rank]):
            puzzle = _pose(task, mine, rank)
            return _Part(puzzle, _gradients(task, net, _solve(task, net, puzzle)))

    nets, groups = (
        [_plain(*_build(factory, backbone)) for _ in range(2)],
        _groups(),
    )  # torch's generator is of all threads
    try:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(sit, range(2)))
    except BaseException:  # what one rank asked for and the other did not would meet the next task
        _groups.cache_clear()
        raise


@lru_cache(maxsize=1)
def _groups() -> list[Any]:
    """Join two ranks in this process; a busy machine may refuse a connection, so up to three times."""
    torchs: Any = distributed  # which does not export all that it documents

    def join(rank: int, store: Any) -> Any:
        gloo = torchs.ProcessGroupGloo
        options = gloo._Options()
        options._devices, options._timeout = [gloo.create_device(hostname="127.0.0.1")], timedelta(seconds=60)
        return gloo(store, rank, 2, options)

    for left in (2, 1, 0):
        try:
            with ThreadPoolExecutor(2) as threads:
                return list(threads.map(join, range(2), [torchs.HashStore()] * 2))
        except RuntimeError:
            if not left:
                raise
    raise AssertionError


def _plain(task: Task, net: Backbone) -> tuple[Task, Backbone]:
    """Put what would tell a part of a batch from the whole into eval mode."""
    apart = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    for module in (*task.modules(), *net.modules()):
        if isinstance(module, apart):
            module.eval()
    return task, net


def _gradients(task: Task, net: Backbone, grade: Grade) -> Tensor:
    """Flatten the gradients of a task's and a backbone's parameters."""
    backward(grade.loss)
    every = [p for p in (*task.parameters(), *net.parameters()) if p.requires_grad]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in every])


def _whole(task: Task, puzzles: list[Puzzle], items: int, rows: bool) -> Puzzle:
    """Join what ranks posed of so many items each; what is for all items alike has to be the same on each rank."""

    def join(one: Tensor, other: Tensor, counted: bool) -> Tensor:
        if one.ndim == 0 or len(one) % items:
            what = "what is for all items of a batch differs between ranks: pose it by pretext.core.ranks"
            _must(torch.allclose(one, other, rtol=1e-5, atol=1e-6), task, what)
            return one
        return torch.cat((one, other + len(one) if counted and other.dtype == torch.int64 else other))

    def tree(one: Tree, other: Tree, counted: bool = False) -> Tree:
        others = leaves(other)
        return mapped(lambda leaf: join(leaf, next(others), counted), one)

    first, second = puzzles
    answer = tree(first.answer, second.answer, rows)
    return Puzzle(tree(first.question, second.question), answer, tree(first.given, second.given))


def check_destroyed(factory: TaskFactory, backbone: Backbone, x: Tree) -> None:
    """Check that a task's destroyed control, if it has one, keeps shapes, the answer and what is given.

    The question must change, the same key must change it alike, and the puzzle that it was made from must stay. It must
    be possible to grade it.
    """
    task, net = _build(factory, backbone)
    puzzle = _pose(task, x)
    before = mapped(torch.clone, puzzle.question)
    generator = partial(rng, _leaves(x)[0].device, "contract", "destroyed")
    other = task.destroyed(puzzle, generator())
    if other is None:
        return
    _must(_same(puzzle.question, before), task, "destroyed changed the puzzle in place: work on a copy")
    for name in ("answer", "given"):
        _must(_same(getattr(other, name), getattr(puzzle, name)), task, f"destroyed changed what is {name}")
    pairs = zip(_leaves(other.question), _leaves(puzzle.question), strict=True)
    alike = all(one.shape == two.shape and one.dtype == two.dtype for one, two in pairs)
    _must(alike, task, "destroyed changed the shape or the type of the question")
    _must(not _same(other.question, puzzle.question), task, "destroyed left the question as it was")
    again = task.destroyed(puzzle, generator())
    _must(again is not None and _same(again.question, other.question), task, "the same key destroys differently")
    _must(_solve(task, net, other).loss.isfinite(), task, "a destroyed puzzle cannot be graded")


def check_content_free(
    factory: TaskFactory,
    backbone: Backbone,
    x: Tree,
    *,
    kinds: tuple[Content, ...] = ("noise", "constant"),
    steps: int = 100,
    items: int = 64,
    sigmas: float = 4.0,
) -> None:
    """Check that nothing is learnt where there is nothing to see: what is, is a leak.

    A copy of the backbone and a new task are trained for `steps` batches of `items` images of independent noise, or of
    one colour each, in the shape of `x`, and then sit fresh puzzles, with the batch's own statistics and without (eval
    mode), until 2,048 items have sat. Accuracy may exceed chance by `sigmas` standard deviations of as many blind
    guesses: an honest task fails once in 30,000 times. (Several puzzles of one item are not independent and count as
    one.) Without an accuracy, the loss may fall 2 % below `chance()`.
    """
    for kind in kinds:
        task, net = _build(factory, backbone)
        optimiser = torch.optim.Adam([*net.parameters(), *task.parameters()], lr=3e-3)
        for step in range(steps):
            optimiser.zero_grad()
            backward(_sit(task, net, _empty(kind, x, items, step), step).loss)
            optimiser.step()
            task.follow(net)
        for mode in (True, False):
            task.train(mode), net.train(mode)
            _judge_content_free(task, net, kind, x, items, sigmas)


@torch.no_grad()
def _judge_content_free(task: Task, net: Backbone, kind: Content, x: Tree, items: int, sigmas: float) -> None:
    blind = _numbers(task.chance())
    batches = math.ceil(2048 / items)
    keys = range(1_000_000, 1_000_000 + batches)  # apart from the training's
    grades = [_numbers(_sit(task, net, _empty(kind, x, items, key), key)) for key in keys]
    mean = {name: sum(grade[name] for grade in grades) / len(grades) for name in blind}
    where = f"on {kind} alone, {'train' if net.training else 'eval'} mode"
    if "accuracy" in blind:
        share, got = blind["accuracy"], mean["accuracy"]
        allowed = share + sigmas * math.sqrt(share * (1 - share) / (batches * items))
        what = f"accuracy is {got:.3f}, chance {share:.3f} (up to {allowed:.3f})"
        _must(got <= allowed, task, f"{where}, {what}: the puzzle leaks its answer")
    else:
        what = f"the loss is {mean['loss']:.4g}, chance {blind['loss']:.4g}"
        _must(mean["loss"] >= 0.98 * blind["loss"], task, f"{where}, {what}: the puzzle leaks its answer")


def _build(factory: TaskFactory, backbone: Backbone) -> tuple[Task, Backbone]:
    """Make a task for a fresh copy of the backbone, always with the same initial weights, both in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of("contract"))
        net = copy.deepcopy(backbone)
        device = next(net.parameters()).device
        return factory(net).to(device).train(), net.train()


def _pose(task: Task, x: Tree, *key: int | str) -> Puzzle:
    return task.pose(x, rng(_leaves(x)[0].device, "contract", *key))


def _sit(task: Task, backbone: Backbone, x: Tree, *key: int | str) -> Grade:
    """Take the whole exam."""
    return _solve(task, backbone, _pose(task, x, *key))


def _solve(task: Task, backbone: Backbone, puzzle: Puzzle) -> Grade:
    return task.grade(task.solve(backbone(puzzle.question), puzzle.given), puzzle.answer)


def _empty(kind: Content, x: Tree, items: int, key: int) -> Tree:
    """Make a batch without content in the shape of `x`."""
    device = _leaves(x)[0].device
    generator = rng(device, "content-free", kind, key)

    def make(leaf: Tensor) -> Tensor:
        shape = (items, *leaf.shape[1:])
        drawn = shape if kind == "noise" else (*shape[:2], *(1 for _ in shape[2:]))
        return torch.rand(drawn, generator=generator, device=device, dtype=leaf.dtype).expand(shape).contiguous()

    return mapped(make, x)


def _numbers(grade: Grade) -> dict[str, float]:
    return {"loss": grade.loss.item(), **{name: score.item() for name, score in grade.scores.items()}}


def _swap(answer: Tree) -> Tree | None:
    """Hand the answers round, to the nearest item for which they differ."""
    leaves = [leaf for leaf in _leaves(answer) if leaf.ndim > 0]
    for shift in range(1, max((len(leaf) for leaf in leaves), default=0)):
        swapped = mapped(partial(_roll, shift=shift), answer)
        if not _same(swapped, answer):
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


def _leaves(tree: Tree) -> list[Tensor]:
    """List all tensors of a tree."""
    return list(leaves(tree))


def _same(one: Tree, other: Tree) -> bool:
    """Compare two trees' tensors bit for bit (a NaN is like a NaN)."""
    ones, others = _leaves(one), _leaves(other)
    return len(ones) == len(others) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        for a, b in zip(ones, others, strict=True)
    )


def _must(holds: bool | Tensor, task: Task, what: str) -> None:
    """Raise an AssertionError that names the task, unless something holds."""
    if not holds:
        raise AssertionError(f"{type(task).__name__}: {what}")
