"""Edges: the answer is the slope of brightness, and a flat image asks nothing."""

from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.ops.structure import edge_strength
from pretext.tasks.image.edges import Edges
from pretext.testing import check_task

SMALL = partial(Edges, width=8)


def images(n=8, side=16):
    """Squares of one colour on another, at places of their own."""
    chance = rng("cpu", "edges", "images")
    low = torch.randint(2, 8, (n, 2, 1), generator=chance)
    at = torch.arange(side).expand(n, 2, side)
    inside = (at >= low) & (at < low + 6)
    mask = inside[:, 0, :, None] & inside[:, 1, None]
    one, other = torch.rand(2, n, 3, 1, 1, generator=chance)
    return torch.where(mask[:, None], one, other)


def pose(task, x):
    return task.pose(x, rng("cpu", "edges"))


# No content-free input: what noise looks like is seen by the backbone, so that its response can rightly be learnt.
def test_it_keeps_the_contract():
    check_task(SMALL, TinyNet(), images(), random=False, kinds=())


def test_the_answer_is_the_response_of_the_image_that_is_seen():
    x = images()
    puzzle = pose(SMALL(TinyNet(), sigma=2.0), x)
    assert torch.equal(puzzle.question, x)
    assert torch.equal(puzzle.answer, edge_strength(x, 2.0))
    half = pose(SMALL(TinyNet()), x.bfloat16())
    assert half.answer.dtype == torch.bfloat16


def test_the_mean_response_costs_one():
    task, puzzle = SMALL(TinyNet()), pose(SMALL(TinyNet()), images())
    mean = puzzle.answer.mean().expand_as(puzzle.answer)
    assert float(task.grade(mean, puzzle.answer).loss) == pytest.approx(1, abs=1e-5)


def test_an_image_without_any_asks_nothing():
    task = SMALL(TinyNet())
    puzzle = pose(task, torch.full((4, 3, 16, 16), 0.4))
    assert float(task.grade(torch.zeros(4, 1, 16, 16), puzzle.answer).loss) < 1e-3


def test_it_learns_where_they_are():
    torch.manual_seed(0)
    net, x = TinyNet(), images()
    task = Edges(net, width=16)

    def loss(step):
        puzzle = pose(task, x)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend([net, task], loss, 80, 5e-3)
    with torch.no_grad():
        assert float(loss(0)) < 0.7


def test_its_drawing_has_the_largest_response_in_white():
    task, puzzle = SMALL(TinyNet()), pose(SMALL(TinyNet()), images(2))
    rows = task.draw(puzzle, None)
    assert [float(row[1].image.max()) for row in rows] == [1.0, 1.0]
    assert rows[0][1].image.shape == (3, 16, 16)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match=r"Edges: sigma=-1.*a blur is 0 pixels or more wide"):
        Edges(TinyNet(), sigma=-1)
    with pytest.raises(ValueError, match=r"Edges: width=2; a quarter of it"):
        Edges(TinyNet(), width=2)
