"""From losses to a map: what is predicted is told apart, policies grow, what is alike lies near."""

import numpy as np
import pytest
from maps import TARGETS, the_map

from pretext.transfer.analysis import analyse


def test_affinities_of_a_target_sum_to_one_and_self_ties_itself():
    found = the_map()
    for target in TARGETS:
        assert sum(e.affinity for e in found.entries if e.target == target) == pytest.approx(1, abs=1e-12)
        win = found.entry(("self",), target)
        assert (win.win, win.predicted) == (0.5, False)
        assert win.win_low < 0.5 < win.win_high


def test_what_is_missing_is_predicted_and_told_apart():
    found = the_map(hidden=[("twin", "depth")], failed=[("maker", "normals")])
    guessed = [e for e in found.entries if e.predicted]
    assert {(e.sources, e.target) for e in guessed} == {(("twin",), "depth"), (("maker",), "normals")}
    for entry in guessed:
        assert 0 < entry.low < entry.affinity < entry.high
        assert np.isnan(entry.win)
    assert found.failed == {"maker to normals": "ValueError: no"}
    assert not [e for e in the_map().entries if e.predicted]


def test_two_sources_serve_what_one_cannot():
    one, two, *more = the_map().choices
    assert set(two.sources) in ({"twin", "maker"}, {"other twin", "maker"})
    assert two.over_single == pytest.approx(two.value - one.value)
    assert two.over_single > 0
    assert two.serving["classes"] == "maker"
    assert all(choice.value >= two.value for choice in more)
    wins = [the_map().entry((by,), target).win for target, by in two.serving.items()]
    assert two.over_self == pytest.approx(np.mean(wins))


def test_twins_are_joined_first():
    first, last = the_map().tree
    assert {first.left, first.right} == {("twin",), ("other twin",)}
    assert first.distance < last.distance
    assert set(last.left + last.right) == {"twin", "other twin", "maker"}


def test_a_target_that_nothing_serves_leaves_the_rest_of_the_map():
    nothing = [(source, "depth") for source in ("twin", "other twin", "maker")]
    found = the_map(failed=nothing)
    assert found.choices == ()
    assert found.entry(("self",), "depth").affinity > 0
    assert analyse("Map", ["twin"], TARGETS, [], 20).entries == ()
