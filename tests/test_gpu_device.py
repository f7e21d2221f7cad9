"""What must hold on a CUDA device: tasks keep their contract there, and it computes what a processor does."""

import sys
from pathlib import Path

import pytest
import torch
from tolerance import LAB, NETWORK, assert_rounded

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # last: no script there hides a library

from gpu_parts import contract, resume
from gpu_parts.setting import Setting
from schedule import Clock

from pretext import Augment, TorchVision
from pretext.core.rng import rng
from pretext.evaluation.embed import embed
from pretext.evaluation.solvers.logistic_regression import probe
from pretext.ops.lab import lab_to_rgb, rgb_to_lab

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("name", contract.CASES)
def test_a_task_keeps_its_contract(name):
    contract.check(contract.CASES[name], "cuda")


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    setting = Setting(None, tmp_path, dry=False, seconds=300)
    answer = resume.compare(setting, resume.EXACT, Clock(float("inf")), {})
    assert all(answer["same"].values())


def test_the_same_key_draws_the_same_on_the_device_whatever_was_drawn_before():
    first = torch.rand(100, generator=rng("cuda", "a", 1), device="cuda")
    torch.rand(7, device="cuda")
    assert torch.equal(first, torch.rand(100, generator=rng("cuda", "a", 1), device="cuda"))


def test_centre_crops_are_those_of_a_processor():
    canvas = torch.randint(256, (4, 3, 40, 40), generator=rng("cpu", "canvas"), dtype=torch.uint8)
    augment = Augment(crop=32)
    assert torch.equal(augment.centre(canvas.cuda()).cpu(), augment.centre(canvas))  # one division of each pixel


def test_colours_are_those_of_a_processor():
    x = torch.rand(2, 3, 16, 16, generator=rng("cpu", "colours"))
    lab = rgb_to_lab(x)
    torch.testing.assert_close(rgb_to_lab(x.cuda()).cpu(), lab, rtol=0, atol=LAB)
    # A hundred levels of Lab are less than the range of a channel, so its error is below that of LAB.
    torch.testing.assert_close(lab_to_rgb(lab.cuda()).cpu(), lab_to_rgb(lab), rtol=0, atol=LAB)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_sees_what_it_sees_on_a_processor(channels_last):
    torch.manual_seed(0)
    net = TorchVision("resnet18", stem="small", width=0.25).eval()
    x = contract.images()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with torch.no_grad(), contract.exact():
        expected = net(x)
        seen = net.cuda()(x.cuda().contiguous(memory_format=layout))
    for name, stage in expected.stages.items():
        assert_rounded(seen.stages[name].cpu(), stage, NETWORK)


def test_a_probe_finds_what_it_finds_on_a_processor():
    """Pictures of two classes, of which one is brighter: both name nearly all of them right, and nearly the same."""
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    x = (0.5 * torch.rand(64, 3, 16, 16, generator=rng("cpu", "probe")) + 0.2 * labels.view(-1, 1, 1, 1)).clamp(0, 1)
    net = TorchVision("resnet18", stem="small", width=0.125)
    batches = [{"x": x, "index": torch.arange(64), "y": labels}]
    with contract.exact():
        here = embed(net, batches, torch.Tensor.float).grid["layer1"]
        there = embed(net.cuda(), batches, torch.Tensor.float).grid["layer1"]
    # Features are kept as float16, whose half eps is 2^-11: what differs before may round to its neighbour.
    torch.testing.assert_close(there, here, rtol=2**-9, atol=2**-9 * float(here.abs().max()))
    found = []
    for rows, device in ((here, "cpu"), (there, "cuda")):
        rows, names = rows.to(device), labels.to(device)
        found.append(probe(rows, names, rows, names).accuracy)
    assert found[0] == pytest.approx(found[1], abs=2 / 64)
    assert found[0] > 0.9
