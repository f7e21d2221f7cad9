import math

import pytest
import torch
from scipy.stats import binomtest

from pretext.evaluation.statistics.intervals import accuracy_of, exact_interval, student, wilson


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (1, 3), (471, 1000), (9_999, 10_000)])
def test_it_is_wilsons_formula(right, total):
    z, share = 1.959963984540054, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    assert wilson(right, total) == pytest.approx((middle - reach, middle + reach), abs=1e-15)


def test_more_confidence_is_a_wider_interval():
    narrow, wide = wilson(30, 50), wilson(30, 50, confidence=0.99)
    assert wide.low < narrow.low < 0.6 < narrow.high < wide.high


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


def test_an_accuracy_has_the_interval_of_its_counts():
    predictions, answers = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    assert accuracy_of(predictions, answers) == {"accuracy": 0.75, **wilson(3, 4)._asdict()}


def test_the_exact_interval_is_that_of_clopper_and_pearson():
    for right, total, level in ((0, 9, 0.95), (3, 9, 0.95), (9, 9, 0.99), (13, 1000, 0.995)):
        known = binomtest(right, total).proportion_ci(level, method="exact")
        assert exact_interval(right / total, total, level) == pytest.approx((known.low, known.high), abs=1e-9)
    with pytest.raises(ValueError, match="exact_interval got share"):
        exact_interval(1.1, 3)


def test_students_interval_widens_with_confidence():
    low, high = student([0.2, 0.4, 0.6], -9, 9, 0.99)
    assert (high - low) / 2 == pytest.approx(9.924843 * 0.2 / 3**0.5, rel=1e-6)  # t of 2 degrees at .995
