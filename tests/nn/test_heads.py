"""Hypercolumn: one linear reading of all stages."""

import torch
from torch.nn import functional as F

from pretext.nn.heads import Hypercolumn

STAGES = {"one": 4, "two": 6, "three": 8}


def stages():
    torch.manual_seed(0)
    return {"one": torch.randn(2, 4, 8, 8), "two": torch.randn(2, 6, 4, 4), "three": torch.randn(2, 8, 4, 4)}


def test_it_is_one_convolution_on_the_stack_of_resized_stages():
    head, seen = Hypercolumn(STAGES, 5), stages()
    torch.nn.init.normal_(head.bias)
    stack = torch.cat([F.interpolate(x, (8, 8), mode="bilinear") for x in seen.values()], 1)
    weight = torch.cat([reader.weight for reader in head.readers], 1)
    torch.testing.assert_close(head(seen, (8, 8)), F.conv2d(stack, weight) + head.bias)
    small = torch.cat([F.adaptive_avg_pool2d(x, 4) for x in seen.values()], 1)
    torch.testing.assert_close(head(seen, (4, 4)), F.conv2d(small, weight) + head.bias)


def test_every_stage_gets_a_gradient_and_it_starts_small():
    head, seen = Hypercolumn(STAGES, 5), {name: x.requires_grad_() for name, x in stages().items()}
    picture = head(seen, (3, 5))
    assert picture.shape == (2, 5, 3, 5)
    assert picture.abs().max() < 0.3
    picture.sum().backward()
    assert all(x.grad.abs().min() > 0 for x in seen.values())


def test_it_reads_stages_by_name_whatever_their_order():
    head, seen = Hypercolumn(STAGES, 5), stages()
    backwards = dict(reversed(seen.items()))
    torch.testing.assert_close(head(seen, (8, 8)), head(backwards, (8, 8)))
