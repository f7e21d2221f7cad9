"""Few shots on frozen features: known answers, references, and episodes that are always the same."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from pretext.evaluation.available import descriptions
from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.measured import measured
from pretext.evaluation.protocols.few_shot import EPISODES, Episodes, by_centroid, by_linear_probe, draw
from pretext.evaluation.results import ProbeResult


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def known(labels, spread=1.0, seed=0, width=8):
    return 4 * torch.eye(width)[labels] + spread * noise(len(labels), width, seed=seed)


def test_episodes_hold_each_class_once_and_no_item_twice_and_are_always_the_same():
    labels = torch.arange(200) % 8
    one = draw(labels, 5, 2, 7, 30)
    assert one.support.shape == (30, 10)
    assert one.query.shape == (30, 35)
    for support, query in zip(one.support, one.query, strict=True):
        assert len(torch.cat([support, query]).unique()) == 45
        classes = labels[support].view(5, 2)
        assert torch.equal(classes, classes[:, :1].expand(5, 2))
        assert len(classes[:, 0].unique()) == 5
        assert torch.equal(labels[query].view(5, 7), classes[:, :1].expand(5, 7))
    again = draw(labels, 5, 2, 7, 60)
    assert torch.equal(again.support[:30], one.support)


def test_what_the_set_cannot_give_is_lowered_or_left_out():
    few = draw(torch.tensor([0] * 6 + [1] * 6 + [2] * 1), 5, 1, 15, 4)
    assert few.ways == 2
    assert few.query.shape == (4, 10)
    assert draw(torch.tensor([0, 0, 1]), 5, 1, 15, 4) is None


def test_it_is_scikit_learns_nearest_centroid_and_logistic_regression():
    labels = torch.arange(240) % 6
    test, train = known(labels, 3.0), known(labels, 3.0, seed=1)
    episodes = draw(labels, 5, 5, 8, 6)
    found = by_centroid(train, test, episodes), by_linear_probe(train, test, episodes, strength=0.1)
    unit = torch.nn.functional.normalize(test - train.mean(0), dim=1).double().numpy()
    plain = ((test - train.mean(0)) / train.std(0, correction=0)).double().numpy()
    answers = np.arange(5).repeat(8)
    for number, (support, query) in enumerate(zip(episodes.support.numpy(), episodes.query.numpy(), strict=True)):
        named = np.arange(5).repeat(5)
        near = NearestCentroid().fit(unit[support], named).predict(unit[query])
        model = LogisticRegression(C=1 / (25 * 0.1), tol=1e-8, max_iter=1000).fit(plain[support], named)
        assert float(found[0][number]) == pytest.approx((near == answers).mean(), abs=1e-9)
        # A question whose two best classes are within the solver's tolerance may be named either way.
        assert float(found[1][number]) == pytest.approx((model.predict(plain[query]) == answers).mean(), abs=1.01 / 40)


def test_known_answers_at_both_ends():
    labels = torch.arange(300) % 6
    sure, blind = known(labels, 0.01, width=6), torch.ones(300, 8)
    episodes = draw(labels, 5, 1, 10, 50)
    for measured_by in (by_centroid, by_linear_probe):
        assert float(measured_by(sure, sure, episodes).min()) == 1
        assert float(measured_by(blind, blind, episodes).mean()) == pytest.approx(0.2)  # equal scores share the answer
    lonely = Episodes(torch.tensor([[0, 1]]), torch.tensor([[6, 7]]), 2)
    assert by_centroid(sure, sure, lonely).tolist() == [1]


def test_the_protocol_measures_each_stage_with_an_interval_for_each_figure():
    labels = torch.arange(240) % 6
    good, bad = known(labels, 0.3, width=6), noise(240, 6, seed=3)
    sets = Embedded({"good": good, "bad": bad}, {"good": good, "bad": bad}, labels)
    found = measure(sets, sets, ["few_shot"])
    own = next(each for each in descriptions() if each.name == "few_shot")
    result = ProbeResult.from_json(ProbeResult(found.rows).to_json())
    named = measured(result, apart=True)
    assert [one.metric.key for one in named] == [metric.key for metric in own.metrics]
    assert len(named) == 4
    for one in named:
        high, low = (one.of(row) for row in result.stages)
        assert high.value > 0.9 > low.high
        assert low.low < low.value < low.high
        assert low.high - low.low < 0.03  # 600 episodes of 75 questions
        assert 0.15 < low.value < 0.3
    assert named[0].of(result.stages[1]).low != named[1].of(result.stages[1]).low
    assert result.stages[0].score("few_shot").figures["episodes"] == EPISODES
