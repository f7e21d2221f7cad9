"""Denoising: how much of an image each noise spoils, and that the answer is clean."""

import math
from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.tasks.image.denoising import Denoising
from pretext.testing import check_task

SMALL = partial(Denoising, width=8)


def images(n=8, side=16):
    coarse = torch.rand(n, 3, 4, 4, generator=rng("cpu", "denoising", "images")) * 0.8 + 0.1
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "denoising", *parts))


# No content-free input: noise has a mean in each place that a bottleneck rightly carries.
@pytest.mark.parametrize(
    "noise",
    ["masking", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gaussian", "salt_and_pepper"))],
)
def test_it_keeps_the_contract(noise):
    check_task(partial(SMALL, noise=noise), TinyNet(), images(), kinds=())


def test_masked_pixels_are_black_in_all_colours_and_no_other_is_touched():
    x = images(40)
    question, answer, _ = pose(SMALL(TinyNet(), noise="masking", amount=0.25), x)
    assert torch.equal(answer, x)
    touched = (question != x).any(1)
    assert torch.equal(touched, (question == 0).all(1))
    n = touched.numel()
    assert float(touched.double().mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / n))


def test_salt_and_pepper_are_equally_likely():
    x = images(40)
    question = pose(SMALL(TinyNet(), noise="salt_and_pepper", amount=0.2), x).question
    n = 40 * 16 * 16
    for value in (0, 1):
        share = float((question == value).all(1).double().mean())
        assert share == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / n))
    kept = ~((question == 0) | (question == 1)).all(1, keepdim=True).expand_as(x)
    assert torch.equal(question[kept], x[kept])


def test_gaussian_noise_has_its_deviation_and_stays_in_range():
    x = torch.full((20, 3, 16, 16), 0.5)
    question = pose(SMALL(TinyNet(), noise="gaussian", amount=0.1), x).question
    off = question - x  # five deviations lie within [0, 1]
    assert float(off.std()) == pytest.approx(0.1, abs=4 * 0.1 / math.sqrt(2 * off.numel()))
    assert float(off.mean()) == pytest.approx(0, abs=4 * 0.1 / math.sqrt(off.numel()))
    loud = pose(SMALL(TinyNet(), noise="gaussian", amount=0.9), x).question
    assert 0 <= loud.min() < 0.1 < 0.9 < loud.max() <= 1


def test_it_learns_what_was_there():
    torch.manual_seed(0)
    net, x = TinyNet(), images()
    task = Denoising(net, width=16)

    def loss(step):
        puzzle = pose(task, x, step)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend([net, task], loss, 60, 5e-3)
    with torch.no_grad():
        assert float(loss(1000)) < 0.6


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match=r"Denoising: noise='speckle'; choose one of masking, gaussian"):
        Denoising(TinyNet(), noise="speckle")
    with pytest.raises(ValueError, match=r"Denoising: amount=1.0; a share"):
        Denoising(TinyNet(), amount=1.0)
    with pytest.raises(ValueError, match=r"images \(N, 3, H, W\), got \(2, 1, 8, 8\)"):
        pose(Denoising(TinyNet()), torch.rand(2, 1, 8, 8))
