"""Autoencoding: the answer is the image itself, and knowing nothing costs 1."""

from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.tasks.image.autoencoding import Autoencoding
from pretext.testing import check_task

SMALL = partial(Autoencoding, width=8)


def images(n=8, side=16):
    chance = rng("cpu", "autoencoding", "images")
    coarse = torch.rand(n, 3, 4, 4, generator=chance)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def pose(task, x):
    return task.pose(x, rng("cpu", "autoencoding"))


# No content-free input: noise has a mean in each place that a bottleneck rightly carries.
def test_it_keeps_the_contract():
    check_task(SMALL, TinyNet(), images(), random=False, kinds=())


def test_the_answer_is_the_image_or_its_average_over_cells():
    x = images()
    assert torch.equal(pose(SMALL(TinyNet()), x).answer, x)
    answer = pose(SMALL(TinyNet(), shrink=4), x).answer
    torch.testing.assert_close(answer, torch.nn.functional.avg_pool2d(x, 4))


def test_the_mean_colour_costs_one_and_the_image_nothing():
    task, x = SMALL(TinyNet()), images()
    puzzle = pose(task, x)
    mean = x.mean((0, 2, 3), keepdim=True).expand_as(x)
    assert float(task.grade(mean, puzzle.answer).loss) == pytest.approx(1, abs=1e-5)
    assert float(task.grade(x, puzzle.answer).loss) == 0
    # Half way is a quarter of the squared error.
    assert float(task.grade((x + mean) / 2, puzzle.answer).loss) == pytest.approx(0.25, abs=1e-5)


def test_it_learns_to_draw():
    torch.manual_seed(0)
    net, x = TinyNet(), images()
    task = Autoencoding(net, width=16)

    def loss(step):
        puzzle = pose(task, x)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend([net, task], loss, 60, 5e-3)
    with torch.no_grad():
        assert float(loss(0)) < 0.5


def test_its_drawing_shows_the_image_and_the_answer():
    task, x = SMALL(TinyNet()), images(2)
    puzzle = pose(task, x)
    rows = task.draw(puzzle, puzzle.answer)
    assert [len(row) for row in rows] == [3, 3]
    assert torch.equal(rows[1][0].image, x[1])
    assert rows[0][2].caption == "prediction: 0.00 of a blind guess's error"


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match=r"Autoencoding: shrink=0; take 1"):
        Autoencoding(TinyNet(), shrink=0)
    with pytest.raises(ValueError, match=r"reads stage 'top', but TinyNet has conv1, conv2"):
        Autoencoding(TinyNet(), stage="top")
    with pytest.raises(ValueError, match=r"whose sides 3 divides, got \(2, 3, 16, 16\)"):
        pose(Autoencoding(TinyNet(), shrink=3), images(2))
