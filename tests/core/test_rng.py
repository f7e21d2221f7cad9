"""Chance depends on the key alone."""

import subprocess
import sys

import torch

from pretext.core.rng import rng, seed_of, seed_torch


def draws(*key):
    return torch.randint(1 << 30, (8,), generator=rng("cpu", *key))


def test_same_key_same_draws_whatever_the_global_state():
    torch.manual_seed(1)
    first = draws(0, "train", "rotation", 0, 3, 7)
    torch.manual_seed(2)
    assert torch.equal(first, draws(0, "train", "rotation", 0, 3, 7))


def test_every_part_of_the_key_counts():
    base = (0, "train", "rotation", 0, 3, 7)
    others = [(1, *base[1:]), *[(*base[:i], f"{base[i]}", *base[i + 1 :]) for i in (0, 3, 4, 5)], (0, "val", *base[2:])]
    seeds = {seed_of(*key) for key in [base, *others, (0, "train", "rotation", 0, 37)]}
    assert len(seeds) == len(others) + 2  # strings differ from numbers, and (3, 7) from (37)


def test_drawing_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    draws(0, "x")
    assert torch.equal(state, torch.get_rng_state())


def test_seed_is_the_same_in_another_process():
    code = "from pretext.core.rng import seed_of; print(seed_of(0, 'train', 5))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == seed_of(0, "train", 5)


def test_torchs_own_generator_is_seeded_as_torch_seeds_it():
    seed_torch("cpu", 0, "train", 5)
    drawn = torch.nn.functional.dropout(torch.ones(100), 0.5)
    torch.manual_seed(seed_of(0, "train", 5))
    assert torch.equal(drawn, torch.nn.functional.dropout(torch.ones(100), 0.5))


def test_a_generator_that_is_seeded_again_draws_as_a_new_one():
    """Whatever it has drawn before: half a pair of normal numbers waits in it, for example."""
    kept = rng("cpu", "first")
    torch.randn(3, generator=kept)
    kept.manual_seed(seed_of("second"))
    fresh = rng("cpu", "second")
    assert torch.equal(torch.randn(5, generator=kept), torch.randn(5, generator=fresh))
    assert torch.equal(torch.rand(5, generator=kept), torch.rand(5, generator=fresh))
