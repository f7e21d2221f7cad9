import numpy as np
import pytest
import torch
from grouped import grouped
from sklearn.datasets import load_digits

from datamodules import DataError, Digits, Splitting
from datamodules.loader import Memory


def everything(data, split):
    batches = list(data.ordered(split))
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("x", "y", "index")}


def test_at_their_own_size_the_two_splits_are_scikit_learns_digits():
    train, test = (everything(Digits(size=8), split) for split in ("train", "test"))
    assert (len(train["x"]), len(test["x"])) == (1297, 500)
    assert train["index"].tolist() == list(range(1297))
    ours = torch.cat([train["x"], test["x"]])
    assert torch.equal(ours[:, 0], ours[:, 1])
    digits = load_digits()
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)
    have = sorted(zip(ours[:, 0].flatten(1).tolist(), torch.cat([train["y"], test["y"]]).tolist(), strict=True))
    assert have == sorted(zip(grey.reshape(-1, 64).tolist(), digits.target.tolist(), strict=True))


def test_a_larger_canvas_keeps_the_mean_brightness():
    small, large = (float(everything(Digits(size=size), "test")["x"].float().mean()) for size in (8, 32))
    assert large == pytest.approx(small, rel=0.03)


def test_splits_and_shares_do_not_depend_on_the_seed():
    one, other = Digits(seed=0, split=Splitting(limit=300)), Digits(seed=1, split=Splitting(limit=300))
    for split in ("train", "test"):
        assert one.fingerprint(split) == other.fingerprint(split)
    held = [torch.cat([batch["index"] for batch in data.val_dataloader()]) for data in (one, other)]
    assert torch.equal(*held)
    assert len(held[0]) == 30
    first = [next(iter(data.train_dataloader()))["index"] for data in (one, other)]
    assert not torch.equal(*first)


def test_training_and_validation_share_nothing_and_make_up_the_training_set():
    data = Digits(batch_size=1)
    train, val = (
        {int(batch["index"]) for batch in loader} for loader in (data.train_dataloader(), data.val_dataloader())
    )
    assert train | val == set(range(1297))
    assert not train & val
    assert len(val) == 130


def test_the_first_of_each_class_come_again_until_an_epoch_is_as_long_as_with_all():
    data = Digits(batch_size=32, split=Splitting(val=0.2, per_class=3))
    held = torch.cat([batch["index"] for batch in data.val_dataloader()])
    labels = everything(Digits(), "train")["y"]
    kept = [i for i in range(1297) if i not in set(held.tolist())]
    first = sorted(i for k in range(10) for i in [i for i in kept if labels[i] == k][:3])
    batches = list(data.train_dataloader())
    assert len(batches) == len(list(Digits(batch_size=32, split=Splitting(val=0.2)).train_dataloader())) == 32
    seen = torch.cat([batch["index"] for batch in batches])
    assert sorted(set(seen.tolist())) == first
    counts = seen.bincount(minlength=1297)[first]
    assert len(seen) == 32 * 32
    assert counts.max() - counts.min() <= 1  # each round has each once
    rounds = seen[: 30 * 34].view(34, 30)
    assert not torch.equal(rounds[0], rounds[1])  # in another order
    assert len(everything(data, "train")["index"]) == 1297  # a probe sees all


def test_few_items_of_each_class_want_a_number_and_one_class_for_each_item(tmp_path):
    with pytest.raises(DataError, match="per_class=0"):
        Digits(split=Splitting(per_class=0))
    with pytest.raises(DataError, match="per_class=2, halves=True, but wants at least 1 and no halves"):
        Digits(split=Splitting(per_class=2, halves=True))
    for several in (None, torch.zeros(4, 3)):
        data = Digits(split=Splitting(per_class=2))
        data._sources["train"] = Memory(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), several)
        with pytest.raises(DataError, match="Digits got per_class=2, but wants items of one class each"):
            data.train_dataloader()


def test_a_smaller_limit_is_a_subset_of_a_larger_one():
    small, large = (everything(Digits(split=Splitting(limit=limit)), "train")["x"] for limit in (50, 200))
    rows = {tuple(image) for image in large.flatten(1).tolist()}
    assert len(small) == 50
    assert all(tuple(image) in rows for image in small.flatten(1).tolist())


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"val": 1.0}, {"val": -0.1}, {"limit": 0}, {"size": 0}])
def test_an_argument_out_of_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"Digits got {name}="):
        Digits(**grouped(Digits, **wrong))


def test_a_validation_share_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="left to train on"):
        Digits(split=Splitting(limit=1, val=0.9)).train_dataloader()


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="split='val'"):
        Digits().ordered("val")
