import itertools

import pytest
import torch

from datamodules.loader import InOrder, Memory, Shuffled, ordered_plan, shuffled, training_plan


def numbers(n):
    """Items whose picture is their number."""
    return Memory(torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 2, 2), torch.arange(n) % 3)


def indices(loader, count=None):
    return [batch["index"].tolist() for batch in itertools.islice(loader, count)]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def test_a_batch_holds_the_items_of_its_index():
    for batch in Shuffled(numbers(10), torch.arange(10), 4, seed=3):
        assert batch["x"].dtype == torch.uint8
        assert torch.equal(batch["x"][:, 0, 0, 0].long(), batch["index"])
        assert torch.equal(batch["y"], batch["index"] % 3)


@pytest.mark.parametrize(("n", "batch_size", "world"), [(100, 7, 1), (100, 7, 3), (10, 16, 2), (64, 16, 4), (5, 5, 5)])
def test_training_shares_are_disjoint_and_equal_and_leave_less_than_a_batch_each(n, batch_size, world):
    plans = [training_plan(shuffled(n, "x"), batch_size, rank, world) for rank in range(world)]
    sizes = {tuple(len(batch) for batch in plan) for plan in plans}
    assert len(sizes) == 1  # as many batches, of the same sizes, on every rank
    assert len(set(sizes.pop())) == 1
    seen = torch.cat([batch for plan in plans for batch in plan]).tolist()
    assert len(seen) == len(set(seen)) > n - world * batch_size - world


@pytest.mark.parametrize(("n", "batch_size"), [(100, 7), (10, 16), (101, 16), (1, 5)])
def test_an_ordered_plan_holds_each_item_once_in_batches_of_nearly_one_size(n, batch_size):
    plan = ordered_plan(torch.arange(n), batch_size)
    assert torch.cat(list(plan)).tolist() == list(range(n))
    sizes = [len(batch) for batch in plan]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_shards_are_the_batches_of_the_whole_dealt_in_turn(world):
    whole = InOrder(numbers(50), torch.arange(50), 8)
    shards = [whole.shard(rank, world) for rank in range(world)]
    assert [len(shard) for shard in shards] == [len(indices(shard)) for shard in shards]
    dealt = itertools.zip_longest(*map(indices, shards))
    assert [batch for turn in dealt for batch in turn if batch is not None] == indices(whole)


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        loader = Shuffled(numbers(40), torch.arange(40), 8, seed)
        loader.set_epoch(epoch)
        return indices(loader)

    assert order(0, 5) == order(0, 5)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert sorted(flat(order(1, 1))) == list(range(40))


def test_fewer_items_than_a_batch_make_one_batch():
    loader = Shuffled(numbers(5), torch.arange(5), 64, seed=0)
    assert len(loader) == len(indices(loader)) == 1
    assert sorted(indices(loader)[0]) == list(range(5))


@pytest.mark.parametrize("stop", range(6))
def test_a_state_taken_anywhere_leads_to_the_batch_that_would_have_come_next(stop):
    loader = Shuffled(numbers(40), torch.arange(40), 8, seed=0)
    loader.set_epoch(2)
    running = iter(loader)
    for _ in range(stop):
        next(running)
    other = Shuffled(numbers(40), torch.arange(40), 8, seed=0)
    other.load_state_dict(loader.state_dict())
    whole = indices(loader)
    iterator = iter(other)  # before the epoch is told, as Lightning does
    other.set_epoch(2)
    assert other.state_dict() == {"epoch": 2, "batch": stop}
    rest = [batch["index"].tolist() for batch in iterator]
    assert rest == (whole[stop:] if stop < 5 else whole)
    assert indices(other) == whole  # and only once


def test_another_epoch_than_the_states_begins_at_its_start():
    loader = Shuffled(numbers(40), torch.arange(40), 8, seed=0)
    loader.load_state_dict({"epoch": 0, "batch": 3})
    loader.set_epoch(1)
    fresh = Shuffled(numbers(40), torch.arange(40), 8, seed=0)
    fresh.set_epoch(1)
    assert indices(loader) == indices(fresh)


def test_a_pass_cut_short_does_not_shorten_the_next():
    loader = Shuffled(numbers(40), torch.arange(40), 8, seed=0)
    cut = indices(loader, 2)
    assert indices(loader)[:2] == cut
    assert len(indices(loader)) == 5


def test_in_order_goes_round_as_often_as_asked():
    loader = InOrder(numbers(10), torch.arange(10), 4)
    assert len(loader) == 3
    assert flat(indices(loader)) == flat(indices(loader)) == list(range(10))


def test_a_fingerprint_changes_with_any_pixel_or_label():
    x, y = torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 2])
    other = x.clone()
    other[2, 2, 3, 3] = 1
    prints = {Memory(a, b).fingerprint() for a in (x, other) for b in (y, y.flip(0), None)}
    assert len(prints) == 6
    assert Memory(x, y).fingerprint() == Memory(x.clone(), y.clone()).fingerprint()
