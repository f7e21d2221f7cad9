"""Shares in closed form, their intervals, and the words of verdicts."""

import json
from dataclasses import replace

import pytest
import torch

from pretext.audit.marks import REMOVED, Marks
from pretext.audit.results import (
    ANSWERS,
    BEYOND,
    KEEPS,
    NO,
    PART,
    UNCLEAR,
    UNLEARNT,
    Finding,
    Score,
    Share,
    TaskAudit,
    excess_share,
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


def test_a_negative_ratio_mirrors_the_positive_one():
    second = Interval(0.02, 0.09)
    low, high = ratio(0.2, Interval(0.1, 0.4), 0.04, second)
    assert ratio(-0.2, Interval(-0.4, -0.1), 0.04, second) == pytest.approx((-high, -low))


def test_bounds_lie_on_either_side_also_where_the_second_is_barely_known():
    """Of a difference below 0 over an intact score that is hardly above chance the bounds had changed places."""
    for one in (-0.3, -0.05, 0.0, 0.05, 0.3):
        for below, above in ((0.01, 0.2), (0.2, 0.01)):
            for two, of_two in ((0.02, Interval(0.001, 0.09)), (0.5, Interval(0.4, 0.6))):
                found = ratio(one, Interval(one - below, one + above), two, of_two)
                assert found.low <= one / two <= found.high


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


def test_what_a_control_has_beyond_another():
    found = excess_share(score(700), score(600), score(750), 0.5)
    assert found.value == pytest.approx(0.1 / 0.25)
    assert found.low < found.value < found.high
    assert excess_share(score(600), score(600), score(750), 0.5).value == 0
    assert excess_share(score(700), score(500), score(750), 0.5).value == pytest.approx(
        share_of(score(700), score(750), 0.5).value
    )
    assert excess_share(score(700), score(600), score(510), 0.5) is None


def test_intervals_of_what_is_beyond_hold_as_often_as_they_say():
    """Of 400 draws of three known scores, 95 % hold, within four standard errors."""
    chance, (one, other, whole), items, draws = 0.25, (0.5, 0.45, 0.6), 1000, 400
    chances = torch.tensor([[one], [other], [whole]]).expand(3, draws)
    counts = torch.binomial(torch.full((3, draws), float(items)), chances, generator=rng("cpu", "beyond")).long()
    shares = [excess_share(score(a, items), score(b, items), score(c, items), chance) for a, b, c in counts.T.tolist()]
    true = (one - other) / (whole - chance)
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
        (Share(0.6, 0.3, 1.1), PART),
        (Share(0.3, -0.1, 0.7), UNCLEAR),
        (Share(0.3, 0.05, 0.49), UNCLEAR),  # up to a half of the answers is not "no"
        (Share(0.0, -0.1, 0.2), UNCLEAR),  # nor is a fifth, where a tenth is "part of it"
        (Share(0.0, -0.1, 0.09), NO),
    ],
)
def test_verdicts_are_true_of_the_whole_interval(share, word):
    assert judged(share, score(500), 0.5) == word


def test_without_a_share_the_score_itself_is_judged():
    assert judged(None, score(600), 0.5) == BEYOND
    assert judged(None, score(500), 0.5) == UNLEARNT
    assert judged(None, Score(1 / 3 + 1e-8, 1 / 3 + 1e-8, 1 / 3 + 1e-8), 1 / 3) == UNLEARNT  # rounding is no knowledge


def test_what_keeps_much_content_is_not_accused():
    share = Share(0.9, 0.8, 1.0)
    assert judged(share, score(800), 0.5, kept=0.23) == ANSWERS
    assert judged(share, score(800), 0.5, kept=0.49) == KEEPS
    assert judged(None, score(800), 0.5, kept=0.49) == KEEPS
    assert judged(Share(0.0, -0.05, 0.05), score(500), 0.5, kept=0.49) == NO
    kept = finding("borders", share, KEEPS, kept=0.49)
    clean = finding("noise", Share(0.0, -0.1, 0.05), NO)
    assert audit(kept, clean).worst is None
    assert audit(kept, clean).verdict == "nothing here answers it: at most 5% (noise)"


CONTROLS = 10


@pytest.mark.parametrize(("chance", "items"), [(0.25, 1000), (0.01, 1000), (0.5, 128)])
def test_tasks_at_chance_are_accused_no_more_often_than_the_intervals_say(chance, items):
    """A task and ten controls that all guess: at most 5 % of audits may accuse one, within four standard errors."""
    draws, rows, blamed = 400, 1 + CONTROLS, 0
    chances = torch.full((draws, rows), float(chance))
    counts = torch.binomial(torch.full_like(chances, items), chances, generator=rng("cpu", "at chance", items)).tolist()
    for draw in counts:
        intact, *others = (Marks([right / items], [items]).score("accuracy", rows) for right in draw)
        shares = [share_of(one, intact, chance) for one in others]
        words = [judged(share, one, chance) for share, one in zip(shares, others, strict=True)]
        findings = [Finding(str(i), "b", "", *each) for i, each in enumerate(zip(others, shares, words, strict=True))]
        blamed += TaskAudit("turn", "Rotation", "accuracy", chance, intact, tuple(findings)).worst is not None
    assert blamed / draws <= 0.05 + 4 * (0.05 * 0.95 / draws) ** 0.5


def test_a_control_that_knows_is_accused_all_the_same():
    intact, one = (Marks([right / 1000], [1000]).score("accuracy", 11) for right in (800, 400))
    assert judged(share_of(one, intact, 0.25), one, 0.25) == PART


def test_a_score_and_its_interval_are_of_one_number():
    """1.68 of 12 items: the interval of a share that is no whole number lies between those of its neighbours."""
    found = Marks([0.14], [12]).score("accuracy", 1)
    one, two = (Marks([right / 12], [12]).score("accuracy", 1) for right in (1, 2))
    assert found.value == 0.14
    assert one.low < found.low < two.low
    assert one.high < found.high < two.high


def test_batches_count_by_their_items_and_more_rows_widen_the_interval():
    marks = Marks([0.5, 0.8], [30, 10])
    alone, together = marks.score("accuracy", 1), marks.score("accuracy", 11)
    assert alone.value == pytest.approx(0.575)
    assert together.low < alone.low < alone.high < together.high
    removed = Marks([-0.4, 0.0, 0.1], [8, 8, 8]).score(REMOVED, 1)
    assert removed.low < -0.4  # a loss may be worse than a blind guess's


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
    known = finding("noise", Share(0.3, 0.2, 0.4), PART, against=score(700), beside=score(600), seconds=1.5)
    every = audit(known, Finding("fade", "h", "fades", note="nothing of the kind is shown"))
    assert TaskAudit.from_json(json.loads(json.dumps(every.to_json()))) == every
    old = every.to_json()
    del old["findings"][0]["beside"]  # as files were before borders had something to be compared with
    assert TaskAudit.from_json(old).findings[0] == replace(known, beside=None)
    failed = replace(every, intact=None, note="ValueError: no", findings=())
    assert TaskAudit.from_json(json.loads(json.dumps(failed.to_json()))) == failed
    assert failed.verdict == "not audited: ValueError: no"
