import base64
import hashlib
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from pretext.evaluation.statistics.correlation import spearman
from pretext.report.search import write_search
from pretext.report.search_figures import weight_panels
from pretext.report.words import duration
from pretext.search.analysis import best_so_far, ended, fittest_quarters, median, searched
from pretext.search.importance import importance
from pretext.search.results import results_of
from pretext.search.study import Candidate

EVIL = '<script>alert("&")</script>'
VOID = {"meta", "link", "br", "wbr"}
FACTS = {"command": "pretext evolve -c elo.yaml", "searcher": "cmaes", "config": f"seed: 1  # {EVIL}"}


class Page(HTMLParser):
    """A page as a browser takes it apart: its words, the cells of its tables, tags and addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.addresses, self.rows, self.words, self.heads = [], [], [], [], [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.heads.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def row(self, *start):
        (found,) = [row for row in self.rows if tuple(row[: len(start)]) == start]
        return found


def candidate(index, fitness=None, control=None, state="done", weights=None, accuracy=None, **more):
    done = state == "done"
    known = {
        "facts": {"zipf_kl": -fitness} if done and fitness is not None else {},
        "probe": None if accuracy is None else {"accuracy": accuracy, "low": accuracy - 0.04, "high": accuracy + 0.04},
        "steps": 100 * done, "seconds": 20.0 if done else None, "finished": 30.0 * index if done else None,
        "reason": None, "tries": 1, "worker": "host:7",
    }  # fmt: skip
    weights = {"turn": 0.5, "order": 0.25} if weights is None else weights
    return Candidate(index=index, control=control, state=state, weights=weights, fitness=fitness, **{**known, **more})


def some_controls(zero=-0.6, equal=-0.5, alone=-0.45):
    return [
        candidate(0, zero, "all zero", weights={"turn": 0.0, "order": 0.0}, accuracy=0.40),
        candidate(1, equal, "all equal", weights={"turn": 1.0, "order": 1.0}, accuracy=0.50),
        candidate(2, alone, "turn alone", weights={"turn": 1.0, "order": 0.0}, accuracy=0.52),
        candidate(3, -0.55, "order alone", weights={"turn": 0.0, "order": 1.0}, accuracy=0.45),
    ]


def study(n=16, names=("turn", "order", "colour"), matters="order", seed=0):
    """A search in which one weight alone decides the fitness, and the probe follows it with noise."""
    dice = random.Random(seed)
    found = some_controls()
    for index in range(4, 4 + n):
        weights = {name: dice.random() for name in names}
        fitness = -0.3 - (weights[matters] - 0.7) ** 2
        accuracy = 0.6 + 0.3 * fitness + dice.gauss(0, 0.02)
        found.append(candidate(index, fitness, weights=weights, accuracy=accuracy))
    return found


def page_of(candidates, tmp_path, title="elo", facts=FACTS):
    write_search(results_of(candidates), tmp_path / "evolve.html", title, facts)
    assert [file.name for file in tmp_path.iterdir()] == ["evolve.html"]  # no draft is left
    return Page((tmp_path / "evolve.html").read_text(encoding="utf-8"))


# ---- Numbers


def test_the_page_says_the_numbers_of_its_candidates(tmp_path):
    found = [*study(), candidate(20, state="running"), candidate(21, state="waiting", weights={})]
    found.append(candidate(22, -0.9, state="pruned"))
    found.append(candidate(23, state="failed", weights={"turn": 1.0}, reason="step 3:\nloss is nan", tries=3))
    page = page_of(found, tmp_path)
    best = max((c for c in found if c.control is None and c.state == "done"), key=lambda c: c.fitness)
    assert f"Number {best.index} of the search is the fittest: {best.fitness:#.4g}" in page.text
    assert "20 of 24" in page.text
    assert "1 running, 1 waiting, 1 pruned, 1 failed" in page.text
    assert "6.7 min" in page.text  # 20 candidates of 20 seconds
    row = page.row(str(best.index), "searched", "done")
    accuracy = 100 * best.probe["accuracy"]
    share = f"{accuracy:.1f} {accuracy - 4:.1f} to {accuracy + 4:.1f}"
    assert row[3:6] == [f"{best.fitness:#.4g}", f"{-best.fitness:#.4g}", share]
    assert row[-3:] == [f"{best.weights[name]:.3f}" for name in ("turn", "order", "colour")]
    failed = page.row("23", "searched")
    assert failed[2] == "failed: step 3: loss is nan ⚠ 3 tries"
    assert failed[3] == failed[-1] == "-"
    assert page.row("all zero")[1:4] == ["-0.6000", "0.6000", "40.0 36.0 to 44.0"]
    assert "1 more wait." in page.text


def test_a_task_that_does_not_reach_the_judged_network_is_told_from_one_that_changes_it(tmp_path):
    page = page_of(some_controls(zero=-0.6, alone=-0.6), tmp_path)
    assert page.row("turn alone (does not reach the judged network)")
    assert page.row("order alone")[1] == "-0.5500"
    assert page.row("all zero")


def test_candidates_stand_in_the_order_in_which_they_finished_and_tables_fittest_first(tmp_path):
    late, early = candidate(4, -0.3, finished=90.0), candidate(5, -0.4, finished=50.0)
    cut = candidate(6, -0.9, state="pruned", finished=70.0)
    assert [c.index for c in ended([late, early, cut, *some_controls()])] == [5, 6, 4]
    assert best_so_far([early, late]) == [-0.4, -0.3]
    page = page_of([late, early, cut, *some_controls()], tmp_path)
    names = [row[0] for row in page.rows]
    start = names.index("Number") + 1
    assert names[start : start + 7] == ["4", "5", "2", "1", "3", "0", "6"]


def test_the_running_mean_is_that_of_the_fittest_quarter():
    values = [-5.0, -1.0, -3.0, -2.0, -4.0, 0.0]
    found = [candidate(i, value, weights={"turn": i / 10}) for i, value in enumerate(values)]
    assert fittest_quarters(found) == [[0], [1], [1], [1], [1, 3], [5, 1]]
    assert "mean of the fittest quarter 0.30" in weight_panels(results_of(found))  # (0.5 + 0.1) / 2
    assert median(found).fitness == -3.0  # the less fit of the two in the middle


# ---- Spearman


def test_spearman_is_that_of_scipy_and_its_interval_that_of_bonett_and_wright():
    dice = np.random.default_rng(0)
    pairs = dice.normal(size=(30, 2)) + dice.normal(size=(30, 1))
    found, reference = spearman(map(tuple, pairs)), stats.spearmanr(*pairs.T)
    assert (found.rho, found.p, found.n) == (pytest.approx(reference.statistic), pytest.approx(reference.pvalue), 30)
    reach = stats.norm.ppf(0.975) * np.sqrt((1 + found.rho**2 / 2) / 27)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.tanh(np.arctanh(found.rho) + side * reach) for side in (-1, 1))
    )


def test_the_page_says_what_fitness_says_of_labels(tmp_path):
    found = study(30)
    own = searched(found)
    rho = stats.spearmanr([c.fitness for c in own], [c.probe["accuracy"] for c in own]).statistic
    page = page_of(found, tmp_path)
    assert f"over the candidates of the search: {rho:.2f}, 95 % interval" in page.text
    best = max(own, key=lambda c: c.fitness)
    rank = 1 + sum(c.probe["accuracy"] > best.probe["accuracy"] for c in own)
    assert f"{100 * best.probe['accuracy']:.1f} %" in page.text
    assert f"rank {rank} of 30." in page.text


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (lambda i: 0.5 + i / 100, "the fitness, which saw no test labels, is a guide"),
        (lambda i: 0.5 - i / 100, "here this fitness misleads"),
        (lambda i: 0.5 + (i * 7 % 12) / 100, "do not show that the fitness says anything"),
        (lambda i: 0.5, "not computed (one side is the same for all 12 candidates)"),
    ],
)
def test_the_words_follow_the_correlation(accuracy, words, tmp_path):
    found = [candidate(i, i / 100, accuracy=accuracy(i)) for i in range(12)]
    assert words in page_of(found, tmp_path).text


def test_a_choice_of_the_fittest_for_the_probe_is_told(tmp_path):
    found = [candidate(i, i / 100, accuracy=0.5 + i / 100 if i > 5 else None) for i in range(12)]
    assert "Only 6 of the 12 done candidates were probed" in page_of(found, tmp_path).text


# ---- Controls


def headline(tmp_path, candidates):
    """Read the sentences above the numbers of a page."""
    page_of(candidates, tmp_path)
    head = (tmp_path / "evolve.html").read_text(encoding="utf-8").partition("</header>")[0]
    return [" ".join(sentence.split()) for sentence in re.findall("<p[^>]*>(.*?)</p>", head, re.DOTALL)[1:]]


def test_a_control_that_is_fitter_is_said_first_and_a_random_network_by_name(tmp_path):
    search = [candidate(4, -0.47), candidate(5, -0.48)]
    assert headline(tmp_path, [*some_controls(), *search])[0] == (
        "A control is fitter than everything that the search found: turn alone, -0.4500 against -0.4700 of number 4."
    )
    told = headline(tmp_path, [*some_controls(zero=-0.4), *search])
    assert told[0].startswith("A control is fitter than everything that the search found: all zero (a random network)")
    assert "this fitness rewards no training" in told[-1]
    assert "as fit as" in headline(tmp_path, [*some_controls(alone=-0.47), *search])[0]
    ahead = headline(tmp_path, [*some_controls(zero=-0.44), candidate(4, -0.3)])
    assert ahead[0].startswith("Number 4 of the search is the fittest: -0.3000, 0.14 above the best control")
    assert "hardly rewards training" in ahead[-1]
    assert len(headline(tmp_path, [*some_controls(), candidate(4, -0.3)])) == 2  # nothing to warn of


# ---- Importance


def test_importance_finds_the_only_weight_that_matters():
    names = ["a", "b", "c", "d"]
    found = importance(searched(study(40, names, matters="c")))
    assert next(iter(found.shares)) == "c"
    assert found.shares["c"] > found.luck > max(found.shares[name] for name in "abd")
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.warning == ""
    assert importance(searched(study(40, names, matters="c"))) == found  # its shuffles come from a key


@pytest.mark.slow
def test_luck_alone_is_as_important_as_luck():
    """Where nothing matters, a weight passes the mark in about 1 study of 20: 3 or more of 6 have p = 0.002."""
    passed = 0
    for seed in range(6):
        dice = random.Random(seed)
        noise = [candidate(i, dice.random(), weights={n: dice.random() for n in "ab"}) for i in range(16)]
        found = importance(noise)
        passed += max(found.shares.values()) > found.luck
    assert passed < 3


@pytest.mark.parametrize("collapsed", [3, 11, 19])
def test_a_collapsed_candidate_does_not_decide_what_is_important(collapsed):
    found = searched(study(40, ["a", "b", "c", "d"], matters="c"))
    found[collapsed] = replace(found[collapsed], fitness=-1e6)
    assert next(iter(importance(found).shares)) == "c"


def test_importance_says_when_there_is_too_little_to_say():
    few = searched(study(9, [*"abcd"], matters="c"))
    assert importance(few).warning == "9 candidates are few for 4 weights: the order is uncertain."
    assert "7 candidates of the search are done, at least 8" in importance(few[:7]).warning
    assert "1 of 1 weights varied" in importance(searched(study(9, ["order"]))).warning
    assert "equally fit" in importance([replace(c, fitness=0.5) for c in few]).warning


# ---- Half-done studies and odd names


HALF_DONE = {
    "nothing planned": [],
    "all waiting": [candidate(i, state="waiting", weights={}) for i in range(3)],
    "only controls": some_controls(),
    "no control": [candidate(4, -0.3, accuracy=0.5)],
    "all failed": [candidate(i, state="failed", reason="NaN", weights={}) for i in range(3)],
    "one weight, no probe, no facts": [candidate(i, -i / 9, weights={"turn": i / 9}, facts={}) for i in range(10)],
    "equally fit": [candidate(i, 0.0, accuracy=0.5) for i in range(10)],
    "no time": [candidate(4, -0.3, seconds=None, finished=None)],
    "only pruned": [candidate(4, -0.3, state="pruned")],
    "no finite fitness": [candidate(4, float("nan"), facts={})],
}


@pytest.mark.parametrize("name", HALF_DONE)
def test_a_half_done_study_has_a_page(name, tmp_path):
    page = page_of(HALF_DONE[name], tmp_path, facts={})
    heads = ["Fitness over time", "Evolution of every weight", "Does the fitness say what labels would?",
             "Importance of each weight", "Controls", "All candidates", "What the words mean",
             "To repeat it", "Facts"]  # fmt: skip
    assert page.heads == heads
    assert not re.search(r"\b(nan|inf|None)\b", page.text.replace("failed: NaN", ""))


def test_names_cannot_break_out_and_nothing_comes_from_outside(tmp_path):
    found = [candidate(0, -0.5, f"{EVIL} alone", weights={EVIL: 1.0}, worker=EVIL)]
    found += [candidate(i, -i / 9, weights={EVIL: i / 9, "b": 1 - i / 9}, accuracy=0.5) for i in range(1, 10)]
    found += [candidate(10, state="failed", reason=EVIL)]
    page = page_of(found, tmp_path, EVIL, {**FACTS, EVIL: EVIL})
    assert sum(tag == "script" for tag, _ in page.tags) == 1  # the one that sorts
    assert page.text.count("alert(") >= 8
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    policy = next(facts["content"] for tag, facts in page.tags if facts.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    text = (tmp_path / "evolve.html").read_text(encoding="utf-8")
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy  # it may run, and nothing else
    assert "tHead" in script
    for tag, facts in page.tags:  # every picture has a name, or is said to be an ornament
        assert tag != "svg" or facts.get("aria-label") or facts.get("aria-hidden") == "true"


def test_times():
    words = ["0 s", "99 s", "1.7 min", "60.0 min", "1 h 00 min", "3 h 07 min"]
    assert [duration(seconds) for seconds in (0, 99, 100, 3599, 3600, 11220)] == words
