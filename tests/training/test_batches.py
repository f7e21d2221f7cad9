"""Batches of a user's own loaders: labels in their usual forms, and what is said of others."""

import pytest
import torch
from nets import TinyNet
from torch.utils.data import DataLoader, TensorDataset

from pretext import Loaders
from pretext.training.batches import check_first, check_labels, lawful

X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3
HOT = torch.eye(3)[Y]
SEVERAL = torch.tensor([[1, 0, 1], [0, 0, 1], [1, -1, 0]] * 2)


def loaded(y, size=2):
    return Loaders(DataLoader(TensorDataset(X, y), batch_size=size))


CLASSES = {
    "int64": Y,
    "int32": Y.int(),
    "uint8": Y.byte(),
    "int8": Y.char(),
    "floats": Y.float(),
    "doubles": Y.double(),
    "a column": Y[:, None],
    "a column of bytes": Y[:, None].byte(),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("index", [False, True])
def test_classes_become_int64_in_whatever_type_they_come(name, index):
    batch = {"x": X, "y": CLASSES[name]} | ({"index": torch.arange(6)} if index else {})
    y = lawful(batch)["y"]
    assert (y.dtype, y.shape) == (torch.int64, (6,))
    assert torch.equal(y, Y)
    assert batch["y"] is CLASSES[name]  # the loader's own batch is left alone


@pytest.mark.parametrize("y", [Y > 0, (Y > 0)[:, None]])
def test_bools_become_two_classes(y):
    assert torch.equal(lawful((X, y))["y"], (Y > 0).long())


OTHERS = {
    "numbers": torch.rand(6, 2),
    "whole numbers": HOT,
    "one number": Y[:, None].float(),
    "floats that are not whole": Y + 0.5,
    "floats of which one is unknown": torch.where(Y > 1, torch.nan, Y.float()),
    "infinity": torch.where(Y > 1, torch.inf, Y.float()),
    "more than float32 can count": Y * 1e9,
    "several labels": SEVERAL.char(),
    "several labels of one class": SEVERAL[:, :1].char(),
    "masks": torch.zeros(6, 8, 8, dtype=torch.uint8),
    "masks of bools": torch.zeros(6, 8, 8, dtype=torch.bool),
    "maps": torch.zeros(6, 1, 8, 8),
}


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_masks_and_several_labels_stay_as_they_are(name):
    assert lawful({"x": X, "y": OTHERS[name]})["y"] is OTHERS[name]


@pytest.mark.parametrize("batch", [(X, None), {"x": X, "y": None}, {"x": X, "y": None, "index": Y}])
def test_a_label_that_is_none_is_left_out(batch):
    assert set(lawful(batch)) == {"x", "index"}
    assert Loaders([batch]).classes == []


def test_classes_are_numbered_where_no_names_are_given():
    for y in CLASSES.values():
        assert loaded(y).classes == ["0", "1", "2"]
    assert loaded(SEVERAL.char()).classes == ["0", "1", "2"]
    for name in ("numbers", "floats that are not whole", "floats of which one is unknown", "masks"):
        assert loaded(OTHERS[name], 6).classes == []
    with pytest.raises(ValueError, match=r"Loaders: y is float32 \(N,\), such as nan; one class an item"):
        _ = loaded(OTHERS["floats of which one is unknown"]).classes  # the first two are whole


def test_names_are_taken_of_a_sequence_alone():
    data = loaded(Y)
    for named, wanted in ((["a", "b", "c"], list("abc")), (("a", "b", "c"), list("abc")), (range(5, 8), list("567"))):
        data.loader("train").dataset.classes = named
        assert data.classes == wanted
    for named in (3, "abc", None, [], {"a": 0}, torch.arange(4)):
        data.loader("train").dataset.classes = named
        assert data.classes == ["0", "1", "2"]


@pytest.mark.parametrize("y", [HOT, HOT.long(), HOT.byte(), HOT.bool(), HOT.double()])
def test_one_hot_rows_are_told_of(y):
    with pytest.raises(ValueError, match=r"probe: y is one-hot, \w+ \(N, 3\); take y.argmax\(1\) .*int8 \(N, K\)"):
        check_labels(loaded(y).ordered("train"), "probe")


def test_what_begins_like_one_hot_rows_is_none():
    late = torch.cat([HOT[:5], torch.ones(1, 3)])
    for y in (HOT.char(), late, late.long(), SEVERAL, SEVERAL.char(), HOT[:, :1], torch.rand(6, 2)):
        check_labels(loaded(y).ordered("train"), "probe")
    check_labels(Loaders([X]).ordered("train"), "probe")


def test_numbers_without_an_axis_of_their_own_are_told_of():
    for name, shown in (("floats that are not whole", "0.5"), ("floats of which one is unknown", "nan")):
        said = rf"float32 \(N,\), such as {shown}; one class .*numbers are \(N, V\), such as y\[:, None\]"
        with pytest.raises(ValueError, match=said):
            check_labels(loaded(OTHERS[name], 3).ordered("train"), "probe")


def test_whole_numbers_that_are_no_labels_are_told_of():
    with pytest.raises(ValueError, match=r"y is int64 \(N, 2\) with values beyond .*numbers are floats \(N, V\)"):
        check_labels(loaded(torch.stack([Y * 5, Y], 1)).ordered("train"), "probe")


def test_who_wants_classes_takes_no_numbers_and_no_masks():
    for name in ("numbers", "one number", "masks", "maps"):
        check_labels(loaded(OTHERS[name]).ordered("train"), "FineTune")
        with pytest.raises(ValueError, match=r"FineTune: y is .*; one class an item is int64 \(N,\)"):
            check_labels(loaded(OTHERS[name]).ordered("train"), "FineTune", numbers=False)


def test_the_split_is_named_whose_values_are_wrong():
    for x, said in ((X * 255, "divide by 255"), (X - 0.5, "leave normalisation"), (X * torch.nan, "has NaN")):
        with pytest.raises(ValueError, match=rf"the test loader: .*{said}"):
            check_first(x, TinyNet(), "test")
        with pytest.raises(ValueError, match=rf"a loader: .*{said}"):
            check_first(x, TinyNet())
    with pytest.raises(ValueError, match=r"TinyNet: the test data is \(6, 3, 8\); it reads"):
        check_first(X[..., 0], TinyNet(), "test")
