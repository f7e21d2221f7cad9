"""Shares in closed form, their intervals, and the words of verdicts."""

import json
from dataclasses import replace

import pytest
import torch

from pretext.audit.results import (
    ANSWERS,
    BEYOND,
    NO,
    PART,
    UNCLEAR,
    UNLEARNT,
    Finding,
    Score,
    Share,
    TaskAudit,
    judged,
    lost_share,
    share_of,
)
from pretext.core.rng import rng
from pretext.evaluation.statistics.intervals import Interval, ratio, wilson


def score(right, total=1000):
    return Score(right / total, *wilson(right, total))


def test_the_share_is_what_is_beyond_chance_of_what_is_beyond_chance():
    found = share_of(score(625), score(750), 0.5)
    assert found.value == pytest.approx((0.625 - 0.5) / (0.75 - 0.5))
    assert share_of(score(500), score(750), 0.5).value == 0
    assert share_of(score(750), score(750), 0.5).value == 1
    assert found.low < found.value < found.high


def test_a_known_intact_score_scales_the_interval():
    """Without doubt about the second the bounds are the first's, divided: the formula's own limit."""
    bounds = ratio(0.2, Interval(0.1, 0.4), 0.5, Interval(0.5, 0.5))
    assert bounds == pytest.approx((0.2, 0.8))


def test_equal_doubt_about_the_second_bounds_as_fieller_does():
    """For symmetric limits MOVER is Fieller's: bounds r with (a - r b)^2 = d^2 (1 + r^2)."""
    a, b, d = 0.3, 0.6, 0.1
    low, high = ratio(a, Interval(a - d, a + d), b, Interval(b - d, b + d))
    for r in (low, high):
        assert (a - r * b) ** 2 == pytest.approx(d**2 * (1 + r**2))


def test_intervals_of_shares_hold_as_often_as_they_say():
    """Of 400 draws from known shares, 95 % hold, within four standard errors."""
    chance, one, two, items, draws = 0.25, 0.4, 0.6, 1000, 400
    true = (one - chance) / (two - chance)
    chances = torch.tensor([[one], [two]]).expand(2, draws)
    counts = torch.binomial(torch.full((2, draws), float(items)), chances, generator=rng("cpu", "shares")).long()
    shares = [share_of(score(a, items), score(b, items), chance) for a, b in counts.T.tolist()]
    held = sum(share.low <= true <= share.high for share in shares) / draws
    assert abs(held - 0.95) < 4 * (0.95 * 0.05 / draws) ** 0.5


def test_without_an_intact_score_above_chance_there_is_no_share():
    assert share_of(score(520), score(510), 0.5) is None
    assert ratio(0.1, Interval(0.0, 0.2), 0.1, Interval(0.0, 0.2)) is None


def test_what_is_lost_is_what_is_not_kept():
    lost = lost_share(score(500), score(750), 0.5)
    assert lost.value == 1
    assert lost.low < 1 < lost.high
    assert lost_share(score(250), score(750), 0.5).value == 2  # answers turned round


@pytest.mark.parametrize(
    ("share", "word"),
    [
        (Share(0.9, 0.6, 1.1), ANSWERS),
        (Share(0.4, 0.2, 0.6), PART),
        (Share(0.3, -0.1, 0.7), UNCLEAR),
        (Share(0.0, -0.1, 0.2), NO),
    ],
)
def test_verdicts_go_by_the_lower_end(share, word):
    assert judged(share, score(500), 0.5) == word


def test_without_a_share_the_score_itself_is_judged():
    assert judged(None, score(600), 0.5) == BEYOND
    assert judged(None, score(500), 0.5) == UNLEARNT


def audit(*findings, intact=None):
    return TaskAudit("turn", "Rotation", "accuracy", 0.25, intact or score(800), findings, 1000, 4000)


def finding(name, share, verdict, **more):
    return Finding(name, "b", name, score(500), share, verdict, f"change {name}", **more)


def test_the_verdict_names_the_worst_and_what_to_change():
    some = finding("noise", Share(0.3, 0.2, 0.4), PART)
    most = finding("borders", Share(0.8, 0.7, 0.9), ANSWERS)
    assert audit(some, most).worst == most
    assert (
        audit(some, most).verdict == "borders: answers most of it, 80% (70% to 90%) of the intact score; change borders"
    )
    assert audit(some).verdict.startswith("noise: answers part of it, 30% (20% to 40%)")
    clean = finding("noise", Share(0.0, -0.1, 0.05), NO)
    assert audit(clean).verdict == "nothing here answers it: at most 5% (noise)"
    unclear = finding("moments", Share(0.2, -0.3, 0.7), UNCLEAR)
    assert audit(clean, unclear).verdict.startswith("unclear: up to 70% by moments")
    beyond = finding("noise", None, BEYOND)
    assert audit(beyond, intact=score(250)).verdict.startswith("noise: beyond chance, though")
    assert "nothing can be said" in audit(finding("noise", None, UNLEARNT), intact=score(250)).verdict


def test_results_survive_a_file():
    known = finding("noise", Share(0.3, 0.2, 0.4), PART, against=score(700), seconds=1.5)
    every = audit(known, Finding("fade", "h", "fades", note="nothing of the kind is shown"))
    assert TaskAudit.from_json(json.loads(json.dumps(every.to_json()))) == every
    failed = replace(every, intact=None, note="ValueError: no", findings=())
    assert TaskAudit.from_json(json.loads(json.dumps(failed.to_json()))) == failed
    assert failed.verdict == "not audited: ValueError: no"
