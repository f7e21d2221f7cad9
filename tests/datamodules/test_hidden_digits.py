"""Digits that are made into clutter: always the same, of other writers' digits in test, and only shape tells them."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from datamodules import DataError, Digits, HiddenDigits, Splitting
from datamodules.generated.hidden import clutter, hidden


def everything(data, split):
    batches = list(data.ordered(split))
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("x", "y", "index")}


def test_pictures_are_always_the_same_and_a_smaller_number_is_the_beginning_of_a_larger():
    few, more = (HiddenDigits(train_items=items, test_items=10, seed=items) for items in (30, 1100))
    one, other = everything(few, "train"), everything(more, "train")
    assert (one["x"].shape, one["x"].dtype) == ((30, 3, 32, 32), torch.uint8)
    assert len(other["x"]) == 1100
    assert torch.equal(one["x"], other["x"][:30])
    assert torch.equal(one["y"], other["y"][:30])
    assert not torch.equal(other["x"][:100], other["x"][1000:])  # parts are not alike


def test_all_of_a_digit_is_visible_and_nothing_else_changes():
    chance = torch.Generator().manual_seed(0)
    behind = clutter(50, 32, chance)
    made = hidden(torch.ones(50, 8, 8), behind, chance)
    changed = ((made - behind).abs() > 1e-3).any(1)
    sides = changed.any(1).sum(1)  # a full square: as wide as it is high, and inside
    high = changed.any(2).sum(1)
    assert (high - sides).abs().max() <= 1  # it begins and ends within pixels
    assert sides.min() >= 14
    assert sides.max() <= 27  # a pixel beyond three quarters on either side, in part
    assert ((sides * high - changed.sum((1, 2))) <= 2).all()  # but where a corner happens to have its colour
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.equal(hidden(torch.zeros(50, 8, 8), behind, chance), behind)


def test_pixels_tell_little_where_they_tell_plain_digits_and_the_classes_are_even():
    rates = []
    for data in (Digits(size=16), HiddenDigits(size=16, train_items=1300, test_items=500)):
        train, test = everything(data, "train"), everything(data, "test")
        x = {name: part["x"][:, :, ::2, ::2].flatten(1) / 255 for name, part in (("train", train), ("test", test))}
        fitted = LogisticRegression(C=0.01, max_iter=50).fit(x["train"], train["y"])
        rates.append(fitted.score(x["test"], test["y"]))
    assert rates[0] > 0.8
    assert rates[1] < 0.3
    assert test["y"].bincount().min() > 25


@pytest.mark.parametrize("wrong", [{"size": 7}, {"train_items": 0}, {"test_items": 0}, {"content": -1}])
def test_what_cannot_be_made_is_refused(wrong):
    with pytest.raises(DataError, match=f"HiddenDigits.*{next(iter(wrong))}"):
        HiddenDigits(**wrong)


def test_folds_are_refused():
    with pytest.raises(DataError, match="fold"):
        HiddenDigits(split=Splitting(fold=2))
