"""The protocol: what a stage that knows the classes scores, and that it looks at train alone."""

import pytest
import torch

from pretext.evaluation.available import descriptions
from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.transferability import memberships


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def embedded(n, seed):
    labels = torch.arange(n) % 3
    good = 6 * torch.eye(3)[labels].repeat(1, 2) + draw(n, 6, seed=seed)
    stages = {"good": good, "bad": draw(n, 6, seed=seed + 1)}
    return Embedded(stages, stages, labels)


def test_a_stage_that_knows_the_classes_scores_higher_in_all():
    measured = measure(embedded(120, 0), embedded(60, 5), ["transferability"])
    good, bad = (row.score("transferability").figures for row in measured.rows)
    own = next(each for each in descriptions() if each.name == "transferability")
    assert all(good[metric.key] > bad[metric.key] for metric in own.metrics)
    assert good["nce"] == pytest.approx(0, abs=0.05)
    other = measure(embedded(120, 0), embedded(60, 9), ["transferability"])  # other test items
    assert other.rows[0].score("transferability").figures == good


def test_memberships_are_probabilities_of_the_nearest_centroid():
    x = torch.cat([draw(20, 4), draw(20, 4) + 50])
    found = memberships(x, 2, 0)
    torch.testing.assert_close(found.sum(1), torch.ones(40).double())
    assert found.argmax(1).unique(return_counts=True)[1].tolist() == [20, 20]
    same = memberships(torch.ones(8, 3), 2, 0)
    torch.testing.assert_close(same.sum(1), torch.ones(8).double())
