"""How cheap scores rank sources."""

import math

import pytest

from pretext.transfer.cheap_scores import agreement

MEASURED = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def test_a_score_that_ranks_alike_has_no_regret():
    found = agreement({name: value**2 for name, value in MEASURED.items()}, MEASURED)
    assert (found.spearman.rho, found.kendall, found.regret) == pytest.approx((1, 1, 0))


def test_regret_is_what_the_named_source_lacks():
    found = agreement({"a": 3, "b": 2, "c": 4, "d": 1, "unknown": 9}, MEASURED)
    assert found.regret == pytest.approx(0.5)
    assert (found.spearman.n, found.kendall) == (4, pytest.approx(1 / 3))
    assert found.spearman.rho == pytest.approx(1 - 6 * 6 / 60)
    assert found.spearman.low < found.spearman.rho < found.spearman.high
    assert math.isnan(agreement(dict.fromkeys(MEASURED, 1.0), MEASURED).kendall)
    with pytest.raises(ValueError, match="got 2 sources"):
        agreement({"a": 1, "b": 2}, MEASURED)
