"""Probes of a user's own loaders: labels in usual forms, and a look at both splits."""

import pytest
import torch
from nets import TinyNet
from torch.utils.data import DataLoader, TensorDataset

import pretext
from pretext.evaluation.solvers.logistic_regression import probe as solved

COUNT = 36
Y = torch.arange(COUNT) % 3
CHANCE = torch.Generator().manual_seed(0)
X = torch.rand(COUNT, 3, 8, 8, generator=CHANCE) * 0.5 + 0.4 * torch.eye(3)[Y][..., None, None]
SEVERAL = torch.stack([Y == 0, Y != 2], 1).char()


def loader(y, x=X):
    return DataLoader(TensorDataset(x, y), batch_size=12, shuffle=True)


def probed(folder, y, x=X, protocols="knn", test=None):
    torch.manual_seed(0)
    data = {"train": loader(y), "test": loader(y if test is None else test, x)}
    return pretext.probe(TinyNet(width=4), data, protocols=protocols, dims=16, folder=folder)


def best(result, metric):
    return max(row[metric] for row in result.rows() if metric in row)


def test_classes_in_usual_forms_are_read(tmp_path):
    result = probed(tmp_path, Y.double(), test=Y[:, None].int())
    assert best(result, "knn/accuracy") > 0.9
    assert result.data["classes"] == ["0", "1", "2"]


def test_several_labels_an_item_are_read(tmp_path):
    result = probed(tmp_path, SEVERAL, protocols=("svm",))
    assert best(result, "svm/map") > 0.9
    assert result.data["classes"] == ["0", "1"]


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_one_hot_labels_are_told_of_in_one_line(tmp_path, kind):
    with pytest.raises(ValueError, match=r"^probe: y is one-hot, .*; take y\.argmax\(1\) for one class an item; .*$"):
        probed(tmp_path, torch.eye(3)[Y].to(kind))
    assert not list(tmp_path.iterdir())


def test_numbers_are_told_how_to_come(tmp_path, monkeypatch):
    y = Y + 0.5
    with pytest.raises(ValueError, match=r"such as [012]\.5; .*numbers are \(N, V\), such as y\[:, None\]"):
        probed(tmp_path, y)
    monkeypatch.setattr("pretext.verbs.probing.probe_run", lambda *given, **options: "probed")
    assert probed(tmp_path, y[:, None]) == "probed"
    assert probed(tmp_path, torch.eye(3)[Y], protocols="regression") == "probed"  # who asks for that has numbers


def test_labels_of_which_one_is_nan_are_told_of(tmp_path):
    with pytest.raises(ValueError, match=r"such as nan; one class an item is int64 \(N,\)"):
        probed(tmp_path, torch.where(Y == 0, torch.nan, Y.float()))


def test_labels_that_are_wrong_in_a_later_batch_alone_are_told_of_without_printing_all(tmp_path):
    y = Y.float()
    y[-1] = 1.25
    with pytest.raises(ValueError, match=r"float32 \(N,\), such as 1\.25; .*regression") as failed:
        probed(tmp_path, y)
    assert len(str(failed.value)) < 200
    with pytest.raises(ValueError, match=r"test labels \[10, 11, 12, 13, 14\] and 31 more that no training item has"):
        probed(tmp_path, Y, test=torch.arange(10, 10 + COUNT))
    with pytest.raises(ValueError, match=r"no classes, such as nan; .*for the protocol regression, numbers \(N, V\)"):
        solved(X.flatten(1), Y, X.flatten(1), torch.where(Y == 0, torch.nan, Y.float()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [(X * 255, "divide by 255"), ((X - 0.45) / 0.2, "leave normalisation"), ((X * 255).int(), "x is torch.int32")],
)
def test_the_test_split_is_looked_at_too(tmp_path, changed, said):
    with pytest.raises(ValueError, match=f"the test loader: .*{said}"):
        probed(tmp_path, Y, changed)


def test_labels_that_are_none_are_none(tmp_path):
    class Pairs:
        def __iter__(self):
            return ((part, None) for part in X.split(12))

    with pytest.raises(ValueError, match="probe needs labels, but Loaders has none"):
        pretext.probe(TinyNet(width=4), {"train": Pairs(), "test": Pairs()}, folder=tmp_path)
