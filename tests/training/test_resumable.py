"""A user's own DataLoader in training: a run that stops goes on with the very next batch, transforms and all."""

import random

import numpy as np
import pytest
import torch
from nets import TinyNet
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SubsetRandomSampler

import pretext
from pretext import Loaders, Optim, Pretrainer, Rotation
from pretext.training import resumable as module
from pretext.training.keyed import Keyed, seeded
from pretext.training.resumable import Resumable

ITEMS = 23


class Jittered(Dataset):
    """Pictures under transforms that draw from all that transforms draw from."""

    def __len__(self):
        return ITEMS

    def __getitem__(self, number):
        chance = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        return torch.full((3, 16, 16), 0.1 + number / 50 + float(chance) / 10), number


def loader(batch_size=4, **options):
    return DataLoader(Jittered(), batch_size=batch_size, **options)


def batches():
    """A sampler that makes whole batches."""
    return DataLoader(Jittered(), batch_sampler=BatchSampler(RandomSampler(range(ITEMS)), 5, drop_last=False))


def own_generator():
    return loader(shuffle=True, generator=torch.Generator().manual_seed(5))


MADE = {
    "shuffled": lambda: loader(shuffle=True),
    "in order": loader,
    "its own generator": own_generator,
    "some items": lambda: loader(sampler=SubsetRandomSampler(range(0, ITEMS, 2))),
    "some of NumPy's": lambda: loader(sampler=SubsetRandomSampler(np.arange(0, ITEMS, 2))),
    "incomplete dropped": lambda: loader(shuffle=True, drop_last=True),
    "own batches": batches,
    "workers": lambda: loader(shuffle=True, num_workers=2),
}


def passes(made, count=3, seed=0):
    """All batches of the first epochs."""
    own = Resumable(made(), seed)
    return [list(own) for _ in range(count)]


def same(one, other):
    parts = ((a, b) for batches in zip(one, other, strict=True) for a, b in zip(*batches, strict=True))
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in parts)


@pytest.mark.parametrize("name", MADE)
def test_a_pass_is_the_same_again_and_goes_on_from_any_batch(name):
    first, second, third = passes(MADE[name])
    assert len(first) == len(Resumable(MADE[name](), 0))
    torch.rand(7)
    assert all(same(*pair) for pair in zip((first, second, third), passes(MADE[name]), strict=True))
    assert not same(first, second)  # transforms draw anew in every epoch
    for stop in (0, 2, len(second) - 1):
        own = Resumable(MADE[name](), 0)
        list(own)
        begun = iter(own)
        for _ in range(stop):
            next(begun)
        state = own.state_dict()
        again = Resumable(MADE[name](), 0)
        again.load_state_dict(state)
        assert same(list(again), second[stop:])
        assert same(list(again), third)


def numbers(epoch):
    return [int(number) for _, part in epoch for number in part]


@pytest.mark.parametrize("name", MADE)
def test_every_item_comes_as_often_as_in_the_loader(name):
    wanted = sorted(number for _, part in MADE[name]() for number in part.tolist())
    for epoch in passes(MADE[name], 2):
        assert len(numbers(epoch)) == len(wanted)
        if name != "incomplete dropped":
            assert sorted(numbers(epoch)) == wanted


def test_seeds_and_epochs_have_orders_of_their_own_and_a_users_generator_its_own():
    first, second = passes(MADE["shuffled"], 2)
    assert numbers(first) != numbers(second) != sorted(numbers(second))
    assert numbers(passes(MADE["shuffled"], 1, seed=1)[0]) != numbers(first)
    mine = passes(own_generator, 2)
    assert numbers(mine[0]) == numbers(passes(own_generator, 1, seed=1)[0])
    expected = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(5)).tolist()
    assert numbers(mine[0]) == expected


@pytest.mark.parametrize("name", ["shuffled", "own batches", "incomplete dropped"])
def test_ranks_share_an_epoch_and_train_on_as_much(monkeypatch, name):
    whole = numbers(passes(MADE[name], 1)[0])
    shares = []
    for rank in range(2):
        monkeypatch.setattr(module, "place", lambda rank=rank: (rank, 2))
        own = Resumable(MADE[name](), 0)
        shares.append(numbers(part := list(own)))
        assert len(own) == len(part)
    assert len(shares[0]) == len(shares[1]) or name == "own batches"
    assert not set(shares[0]) & set(shares[1])
    assert set(shares[0]) | set(shares[1]) <= set(range(ITEMS))
    assert len(whole) - len(shares[0]) - len(shares[1]) <= 5


def test_chance_is_as_before_after_a_batch():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    next(iter(Resumable(MADE["shuffled"](), 0)))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), seeded("fails"):
        torch.rand(1).item() / 0
    assert torch.equal(torch.get_rng_state(), states[0])


def test_a_worker_sees_the_data_set_itself():
    keyed = Keyed(Jittered())
    keyed.file = "opened"
    assert (keyed.dataset.file, keyed.file, len(keyed.dataset)) == ("opened", "opened", ITEMS)
    with pytest.raises(AttributeError):
        keyed.nothing  # noqa: B018


def test_a_probe_sees_the_same_pixels_each_time_whatever_transforms_draw():
    data = Loaders(loader(), loader())
    one, other = (torch.cat([batch["x"] for batch in data.ordered("train")]) for _ in range(2))
    assert torch.equal(one, other)
    workers = Loaders(loader(num_workers=1), loader())
    assert torch.equal(one, torch.cat([batch["x"] for batch in workers.ordered("train")]))


def trained(folder, resume=False, **options):
    torch.manual_seed(0)
    host = Pretrainer(TinyNet(dropout=0.2), {"turn": Rotation}, optim=Optim(schedule="constant"))
    data = Loaders(loader(shuffle=True))
    options = {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False, **options}
    return pretext.fit(host, data, folder, resume=resume, **options)


def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path):
    whole = trained(tmp_path / "whole")
    assert trained(tmp_path / "torn", max_epochs=-1, max_steps=8).steps == 8
    on = trained(tmp_path / "torn", resume=True)
    assert (whole.steps, on.steps) == (18, 18)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, on.module.state_dict()[name]), name
