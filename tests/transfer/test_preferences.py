"""Preferences among pairs of items: closed forms, scikit-learn's logistic regression, and what cannot be weighed."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pretext.__main__ import main
from pretext.evaluation.statistics.intervals import wilson
from pretext.report.preferences import findings
from pretext.transfer.correlations import read_correlations
from pretext.transfer.preferences import bradley_terry, preferences_of, preferred, read_preferences
from pretext.transfer.tables import read_transfers

FILE = "rater,a,b,winner\n"


def drawn(items=6, answers=400, seed=0):
    """Answers about items whose strengths are known, some of them ties."""
    draw = np.random.default_rng(seed)
    true = np.linspace(-1.5, 1.5, items)
    rows = []
    for n in range(answers):
        i, j = draw.choice(items, 2, replace=False)
        winner = "tie" if n % 10 == 0 else str(i if draw.random() < preferred(true[i], true[j]) else j)
        rows.append(("xyz"[n % 3], str(i), str(j), winner, 1.0))
    return preferences_of(rows), true


def logistic(wins, prior=0.0):
    """Fit strengths as a logistic regression on rows of one 1 and one -1; the last column is an average item."""
    count = len(wins)
    rows, answers, weights = [], [], []
    for i in range(count):
        for j in range(count):
            if i != j and wins[i, j]:
                row = np.zeros(count + 1)
                row[i], row[j] = 1, -1
                rows, answers, weights = (
                    [*rows, row, -row],
                    [*answers, 1, 0],
                    [*weights, wins[i, j] / 2, wins[i, j] / 2],
                )
    for i in range(count if prior else 0):
        row = np.zeros(count + 1)
        row[i], row[count] = 1, -1
        rows, answers, weights = [*rows, row, row], [*answers, 1, 0], [*weights, prior / 2, prior / 2]
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000, solver="newton-cg")
    found = model.fit(np.stack(rows), answers, sample_weight=weights).coef_[0, :count]
    return found - found.mean()


def test_of_two_items_strengths_are_the_logarithm_of_the_odds():
    found = bradley_terry(
        preferences_of([("r", "a", "b", "a", 30.0), ("s", "b", "a", "b", 8.0), ("s", "a", "b", "tie", 4.0)])
    )
    won, lost = 32, 10  # ties half
    assert found.values == pytest.approx(np.array([1, -1]) * np.log(won / lost) / 2, abs=1e-12)
    assert found.likelihood == pytest.approx(won * np.log(won / 42) + lost * np.log(lost / 42), abs=1e-9)
    spread = np.sqrt(1 / won + 1 / lost)  # of the difference; each is half of it
    assert found.intervals[0] == pytest.approx(found.values[0] + np.array([-1.96, 1.96]) * spread / 2, abs=1e-4)
    assert found.above(0, 1) == pytest.approx(0.999338, abs=5e-7)  # Phi(log(3.2) / spread)
    assert found.above(0, 1) + found.above(1, 0) == pytest.approx(1)


def test_of_a_cycle_all_are_equal():
    found = bradley_terry(preferences_of([("r", a, b, a, 5.0) for a, b in ("ab", "bc", "cd", "da")]))
    assert found.values == pytest.approx([0, 0, 0, 0], abs=1e-12)
    assert found.above(0, 2) == pytest.approx(0.5)
    assert found.with_it(0) == 0.5  # nobody is stronger


@pytest.mark.parametrize("prior", [0.0, 2.0])
def test_strengths_are_scikit_learns_logistic_regression(prior):
    answers, true = drawn()
    found = bradley_terry(answers, prior)
    assert found.values == pytest.approx(logistic(answers.wins.sum(0), prior), abs=1e-6)
    places = [int(name) for name in answers.items]
    assert (np.abs(found.values - true[places]) < 4 * np.sqrt(found.covariance.diagonal())).all()
    assert found.values.mean() == pytest.approx(0, abs=1e-12)


def test_what_is_won_is_what_the_strengths_expect():
    """Where the likelihood is largest, each item wins as often as the model says."""
    answers, _ = drawn(seed=1)
    found, wins = bradley_terry(answers), answers.wins.sum(0)
    expected = ((wins + wins.T) * preferred(found.values[:, None], found.values)).sum(1)
    assert wins.sum(1) == pytest.approx(expected, abs=1e-9)


def test_a_prior_bounds_what_always_wins_and_who_is_asked_first_does_not_matter():
    rows = [("r", "a", "b", "a", 3.0), ("r", "b", "c", "b", 3.0)]
    with pytest.raises(ValueError, match="no other item is ever preferred to a, so nothing bounds"):
        bradley_terry(preferences_of(rows))
    found = bradley_terry(preferences_of(rows), prior=1.0)
    assert found.values[0] == pytest.approx(-found.values[2])
    assert found.values[1] == pytest.approx(0, abs=1e-12)
    turned = bradley_terry(preferences_of([(r, b, a, w, n) for r, a, b, w, n in rows]), prior=1.0)
    assert dict(zip(turned.preferences.items, turned.values, strict=True)) == pytest.approx(
        dict(zip(found.preferences.items, found.values, strict=True))
    )


def test_who_is_surely_the_strongest_is_said():
    rows = [
        ("r", "a", "b", "a", 60.0),
        ("r", "a", "b", "b", 20.0),
        ("r", "b", "c", "b", 1.0),
        ("r", "b", "c", "c", 1.0),
    ]
    surely = bradley_terry(preferences_of([*rows, ("r", "a", "c", "a", 40.0)]))
    assert findings(surely) == ["a is stronger than every other item, each with 97.5 % or more."]
    assert findings(bradley_terry(preferences_of(rows)))[0].startswith("a is the strongest, but not surely: c may")


def test_the_verb_writes_a_page_tables_and_correlations(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    rows = ["x,a|b,a|c,a|b,3", "<y,a|b,a|c,a|c,1", "x,b|c,a|c,b|c,2", "<y,b|c,a|c,tie,2", "x,a|b,b|c,tie,4"]
    file = tmp_path / "pairs.csv"
    file.write_text("\n".join(["rater,a,b,winner,count", *rows]))
    assert main(["transfer", "votes", str(file)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = bradley_terry(read_preferences(file))
    strengths = dict(zip(found.preferences.items, found.values.tolist(), strict=True))
    low, high = found.intervals[0].tolist()
    assert f"a|b {strengths['a|b']:.2f} ({low:.2f} to {high:.2f}) 62.5 8" in out
    bounds = [100 * end for end in wilson(7, 9)]  # x: 3 + 2 of 5, and half of 4 ties
    assert f"x 9 4 77.8 ({bounds[0]:.1f}-{bounds[1]:.1f})" in out
    html = (tmp_path / "pairs_votes.html").read_text()
    assert "&lt;y" in html
    assert "<y" not in html
    assert "a|b is the strongest, but not surely: b|c, a|c may be as strong." in html
    assert json.loads((tmp_path / "pairs_votes.json").read_text())["items"]["a|b"]["strength"] == strengths["a|b"]
    values = {(t.name, t.target): t.value for t in read_transfers(tmp_path / "pairs_correlations.csv")}
    assert values["a", "b"] == values["b", "a"] == strengths["a|b"]
    assert values["c", "c"] == max(strengths.values())
    assert read_correlations(file).between(["a"], ["c"]).item() == strengths["a|c"]


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ("r,a,b,a\nr,c,d,d", [], "2 groups of items were never compared (a, b; c, d); nothing tells which are better"),
        ("r,a,b,a\nr,b,c,b\nr,c,b,c", [], "no other item is ever preferred to a, so nothing bounds how far"),
        ("r,a,b,a\nr,b,a,b\nr,a,c,a\nr,b,c,b", [], "ever preferred to a, b, so nothing bounds how far above they are"),
        ("r,a,b,c", [], "line 2: the winner is 'c'; it wants a, b or tie"),
        ("r,a,a,a", [], "line 2: 'a' is compared with itself; it wants two items"),
        ("r,a,b", [], "line 2: got 'r,a,b'; it wants rater,a,b,winner"),
        ("", [], "preferences: no answer; give rows of rater,a,b,winner"),
        ("r,a,b,a", ["--labels", "a"], "holds rater,a,b,winner, of which there is no --labels; leave it out"),
        ("r,a,b,a", ["--prior", "-1"], "prior=-1.0; give 0 or more"),
    ],
)
def test_what_cannot_be_weighed_is_told_in_one_line(tmp_path, capsys, rows, words, message):
    (tmp_path / "pairs.csv").write_text(f"{FILE}{rows}\n")
    assert main(["transfer", "votes", str(tmp_path / "pairs.csv"), *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
