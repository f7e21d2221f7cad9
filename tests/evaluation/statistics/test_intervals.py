import pytest
from scipy.stats import binomtest

from pretext.evaluation.statistics.intervals import student, wilson


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (1, 3), (471, 1000), (9_999, 10_000)])
def test_it_is_scipys_wilson_interval(right, total):
    reference = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((reference.low, reference.high), abs=1e-7)


def test_no_success_at_all_still_leaves_room_above():
    z = 1.959964
    assert wilson(0, 10) == pytest.approx((0.0, z * z / (10 + z * z)))


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 4), (5, 4)])
def test_impossible_counts_are_refused(right, total):
    with pytest.raises(ValueError, match=f"right={right}, total={total}"):
        wilson(right, total)


def test_students_interval_at_a_known_input():
    assert student([0.4, 0.5, 0.6]) == pytest.approx((0.5 - 0.2484138, 0.5 + 0.2484138), abs=1e-6)  # 4.302653 / sqrt(3)
    assert student([0.9, 1.0]).high == 1.0  # a share
