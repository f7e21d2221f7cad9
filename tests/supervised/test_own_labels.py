"""Fine-tuning on a user's own loaders: labels in usual forms, and what is said of others."""

import pytest
import torch
from nets import TinyNet
from torch.utils.data import DataLoader, TensorDataset

import pretext

Y = torch.arange(12) % 3
X = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ONCE = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


class Pairs:
    """Pairs (x, y) that a default collate_fn would not make, such as (x, None)."""

    def __init__(self, *ys):
        self.ys = ys

    def __iter__(self):
        return zip(X.split(6), self.ys, strict=True)

    def __len__(self):
        return len(self.ys)


def tuned(folder, train, val=None):
    data = pretext.Loaders(train, train if val is None else val)
    torch.manual_seed(0)
    return pretext.fit(pretext.FineTune(backbone=TinyNet(width=4)), data, folder / "run", **ONCE)


def loader(y):
    return DataLoader(TensorDataset(X, y), batch_size=6)


def test_classes_are_learnt_the_same_in_any_usual_form(tmp_path):
    forms = (Y, Y.double(), Y[:, None].int())
    weights = [tuned(tmp_path / str(y.dtype), loader(y)).module.state_dict() for y in forms]
    assert all(torch.equal(value, other[name]) for other in weights for name, value in weights[0].items())
    assert weights[0]["head.weight"].shape[0] == 3


def test_several_labels_an_item_are_learnt(tmp_path):
    run = tuned(tmp_path, loader(torch.stack([Y == 0, Y != 2], 1).char()))
    assert run.module.classes == ["0", "1"]
    assert run.module.best.score > 0


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (torch.eye(3)[Y], r"y is one-hot, float32 \(N, 3\); take y\.argmax\(1\)"),
        (torch.eye(3)[Y].long(), r"y is one-hot, int64 \(N, 3\); take y\.argmax\(1\)"),
        (Y + 0.5, r"y is float32 \(N,\), such as 0\.5; one class an item is int64 \(N,\)"),
        (torch.rand(12, 2), r"y is float32 \(N, 2\); one class .*numbers are learnt by pretext\.Regression"),
        (torch.zeros(12, 8, 8).byte(), r"y is uint8 \(N, 8, 8\); one class .*masks by pretext\.Segmentation"),
    ],
)
def test_other_labels_are_told_what_to_become(tmp_path, y, said):
    with pytest.raises(ValueError, match=f"FineTune: {said}"):
        tuned(tmp_path, loader(y))


def test_labels_that_are_missing_are_told_of(tmp_path):
    with pytest.raises(ValueError, match=r"Loaders has none; let the train loader yield \(x, y\), y int64 \(N,\)"):
        tuned(tmp_path, Pairs(None, None))
    with pytest.raises(ValueError, match="FineTune learns classes, but a batch has no y; give every item a label"):
        tuned(tmp_path, loader(Y), Pairs(None, None))


def test_labels_of_validation_that_are_no_classes_are_told_of(tmp_path):
    with pytest.raises(ValueError, match=r"FineTune: y is float32 \(N,\), such as 0\.5"):
        tuned(tmp_path, loader(Y), loader(Y + 0.5))
