"""Votes: Dawid and Skene's own patients, laws of the algorithm, and what cannot be weighed.

`data/dawid_skene_1979.csv` holds table 1 of https://doi.org/10.2307/2346806: 45 patients and five anaesthetists, one of
whom answered three times.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from pretext.__main__ import main
from pretext.report.votes import findings
from pretext.transfer.correlations import Correlations, of_scores, of_transfers, of_votes
from pretext.transfer.results import Measured
from pretext.transfer.tables import Transfer, read_transfers
from pretext.transfer.votes import dawid_skene, read_votes, votes_of

FILE = Path(__file__).parent / "data" / "dawid_skene_1979.csv"


@pytest.fixture(scope="module")
def published():
    return dawid_skene(read_votes(FILE))


def test_the_papers_patients(published):
    """Likelihood, shares, the first rater's diagonal and three patients who are hard to tell."""
    assert published.likelihood == pytest.approx(-192.8908812, abs=1e-6)
    assert published.shares == pytest.approx([0.3996, 0.4220, 0.1118, 0.0667], abs=5e-5)
    assert np.diag(published.confusion[0]) == pytest.approx([0.8895, 0.8764, 0.6612, 0.4444], abs=5e-5)
    chosen = dict(zip(published.votes.items, published.chosen, strict=True))
    assert (chosen["3"], chosen["36"], chosen["38"]) == ("2", "4", "3")
    assert published.chances[37].max() == pytest.approx(0.979, abs=5e-4)


def test_the_likelihood_never_falls_and_more_starts_never_find_less(published):
    assert len(published.history) > 10
    assert (np.diff(published.history) > -1e-9).all()  # 400 terms of up to 10, in double precision
    more = dawid_skene(published.votes, starts=8)
    assert more.likelihood > published.likelihood
    assert np.trace(more.confusion[0]) > 2  # and labels keep their names


def test_what_is_certain_is_said_first(published):
    certain, raters = findings(published)
    assert certain == "44 of 45 items have a label that is 95 % certain or more."
    assert raters == "Rater 4 is right most often (86.7 % of the answers), 3 least (77.7 %)."


def test_answers_that_are_repeated_equal_counts():
    rows = [("a", "r", "x", 1), ("a", "r", "x", 1), ("a", "s", "y", 1), ("b", "s", "y", 1), ("b", "r", "y", 1)]
    counted = [("a", "r", "x", 2), *rows[2:]]
    assert np.array_equal(votes_of(rows).counts, votes_of(counted).counts)


def test_perfect_raters_are_believed_at_once():
    truth = [k % 3 for k in range(30)]
    found = dawid_skene(votes_of([(str(i), r, str(t), 1) for i, t in enumerate(truth) for r in "ab"]))
    assert np.array_equal(found.chances, np.eye(3)[truth])
    assert len(found.history) == 2  # the second step sees that there is nothing to gain
    assert found.likelihood == pytest.approx(30 * np.log(1 / 3))


def test_the_permutation_of_an_adversary_is_found():
    draw, turned = np.random.default_rng(0), [2, 0, 1]
    truth = draw.integers(3, size=200)
    rows = [(str(i), "adversary", str(turned[t]), 1) for i, t in enumerate(truth)]
    for rater in ("first", "second", "third", "fourth"):
        wrong = draw.random(200) < 0.2
        rows += [
            (str(i), rater, str((t + w * draw.integers(1, 3)) % 3), 1)
            for i, (t, w) in enumerate(zip(truth, wrong, strict=True))
        ]
    found = dawid_skene(votes_of(rows))
    assert found.confusion[0] == pytest.approx(
        np.eye(3)[turned], abs=0.05
    )  # honest ones are wrong together now and then
    assert np.mean(np.array(found.chosen).astype(int) == truth) > 0.98


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ("1,a,x\n2,a,y", [], "votes: 1 rater; it wants two"),
        ("1,a,x\n1,b,z", ["--labels", "x", "y"], "line 3: 'z' is none of the labels x, y"),
        ("1,a,x\n1,b,y\n2,c,x\n2,d,y", [], "2 groups of raters share no item (a, b; c, d); nothing compares them"),
        ("1,a,x\n1,b,x", [], "all answers are 'x'; it wants two labels or more"),
        ("1,a", [], "line 2: got '1,a'; it wants item,rater,answer"),
        ("", [], "votes: no answer; give rows of item,rater,answer"),
    ],
)
def test_what_cannot_be_weighed_is_told_in_one_line(tmp_path, capsys, rows, words, message):
    (tmp_path / "votes.csv").write_text(f"item,rater,answer\n{rows}\n")
    assert main(["transfer", "votes", str(tmp_path / "votes.csv"), *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_the_verb_writes_a_page_tables_and_correlations(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    rows = [f"{pair},{rater},{answer}" for pair, answer in (("a|b", 2), ("b|c", -1), ("a|c", 0)) for rater in "<xyz"]
    (tmp_path / "pairs.csv").write_text("\n".join(["item,rater,answer", *rows]))
    assert main(["transfer", "votes", str(tmp_path / "pairs.csv")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Rater <" in out
    assert "a|b 2 100.0" in out
    html = (tmp_path / "pairs_votes.html").read_text()
    assert "Rater &lt;" in html
    assert "Rater <" not in html
    found = json.loads((tmp_path / "pairs_votes.json").read_text())
    assert found["raters"]["x"] == np.eye(3).tolist()
    values = {(t.name, t.target): t.value for t in read_transfers(tmp_path / "pairs_correlations.csv")}
    assert values["a", "b"] == values["b", "a"] == 2
    assert values["b", "c"] == -1
    assert values["a", "a"] == 2


class TestCorrelations:
    def test_of_votes_are_means_over_what_may_be_true(self, published):
        pairs = published.votes._replace(items=tuple(f"a|{item}" for item in published.votes.items))
        found = of_votes(published._replace(votes=pairs))
        assert found.between(["a"], ["38"]).item() == pytest.approx(published.chances[37] @ [1, 2, 3, 4])

    def test_of_affinities_are_standardised_logarithms_for_each_target(self):
        rows = [("a", "b", 1.0), ("c", "b", np.e**2), ("self", "b", np.e**4), ("random", "b", 1e-9), ("b", "a", 1.0)]
        rows += [("c", "a", 2.0)]
        found = of_transfers([Transfer((s,), t, v) for s, t, v in rows])
        middle, spread = 2.0, np.sqrt(8 / 3)  # of 0, 2 and 4
        assert found.between(["a", "c", "b"], ["b"])[:, 0] == pytest.approx([-middle / spread, 0, middle / spread])
        assert found.between(["a"], ["a"]) == found.between(["c"], ["a"])  # as much as the best source

    def test_of_scores_do_not_depend_on_their_unit(self):
        cells = [
            Measured((s,), t, scores={"log_me": x}) for s, t, x in (("a", "b", 1.0), ("c", "b", 2.0), ("a", "c", 5.0))
        ]
        tenfold = [Measured(m.sources, m.target, scores={"log_me": 10 * m.scores["log_me"]}) for m in cells]
        assert of_scores(cells, "log_me").values == pytest.approx(of_scores(tenfold, "log_me").values, nan_ok=True)

    def test_what_is_not_there_is_named(self):
        found = Correlations(("a", "b"), np.array([[1, np.nan], [0.5, 1]]))
        with pytest.raises(ValueError, match="no value for a to b; measure it"):
            found.between(["a"], ["b"])
        with pytest.raises(ValueError, match="c is not there; there are a, b"):
            found.between(["c"], ["b"])
