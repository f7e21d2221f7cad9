"""Edges and Keypoints: the answer is the response of the image that is seen, and a flat image asks nothing."""

from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.ops.structure import corner_strength, edge_strength
from pretext.tasks.image.edges import Edges
from pretext.tasks.image.keypoints import Keypoints
from pretext.testing import check_task

RESPONSES = {Edges: edge_strength, Keypoints: corner_strength}
both = pytest.mark.parametrize("kind", RESPONSES)


def images(n=8, side=16):
    """Squares of one colour on another, at places of their own."""
    chance = rng("cpu", "responses", "images")
    low = torch.randint(2, 8, (n, 2, 1), generator=chance)
    at = torch.arange(side).expand(n, 2, side)
    inside = (at >= low) & (at < low + 6)
    mask = inside[:, 0, :, None] & inside[:, 1, None]
    one, other = torch.rand(2, n, 3, 1, 1, generator=chance)
    return torch.where(mask[:, None], one, other)


def pose(task, x):
    return task.pose(x, rng("cpu", "responses"))


# No content-free input: what noise looks like is seen by the backbone, so that its response can rightly be learnt.
@both
def test_it_keeps_the_contract(kind):
    check_task(partial(kind, width=8), TinyNet(), images(), random=False, kinds=())


@both
def test_the_answer_is_the_response_of_the_image_that_is_seen(kind):
    x = images()
    puzzle = pose(kind(TinyNet(), sigma=2.0, width=8), x)
    assert torch.equal(puzzle.question, x)
    assert torch.equal(puzzle.answer, RESPONSES[kind](x, 2.0))
    half = pose(kind(TinyNet(), width=8), x.bfloat16())
    assert half.answer.dtype == torch.bfloat16


@both
def test_the_mean_response_costs_one(kind):
    task, puzzle = kind(TinyNet(), width=8), pose(kind(TinyNet(), width=8), images())
    mean = puzzle.answer.mean().expand_as(puzzle.answer)
    assert float(task.grade(mean, puzzle.answer).loss) == pytest.approx(1, abs=1e-5)


@both
def test_an_image_without_any_asks_nothing(kind):
    task = kind(TinyNet(), width=8)
    puzzle = pose(task, torch.full((4, 3, 16, 16), 0.4))
    assert float(task.grade(torch.zeros(4, 1, 16, 16), puzzle.answer).loss) < 1e-3


@both
def test_it_learns_where_they_are(kind):
    torch.manual_seed(0)
    net, x = TinyNet(), images()
    task = kind(net, width=16)

    def loss(step):
        puzzle = pose(task, x)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend([net, task], loss, 80, 5e-3)
    with torch.no_grad():
        assert float(loss(0)) < 0.7


@both
def test_its_drawing_has_the_largest_response_in_white(kind):
    task, puzzle = kind(TinyNet(), width=8), pose(kind(TinyNet(), width=8), images(2))
    rows = task.draw(puzzle, None)
    assert [float(row[1].image.max()) for row in rows] == [1.0, 1.0]
    assert rows[0][1].image.shape == (3, 16, 16)


@both
def test_what_cannot_be_asked_is_refused(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: sigma=-1.*a blur is 0 pixels or more wide"):
        kind(TinyNet(), sigma=-1)
    with pytest.raises(ValueError, match=rf"{kind.__name__}: width=2; a quarter of it"):
        kind(TinyNet(), width=2)
