import csv
import json
import math
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from html_page import Page, loads_nothing, only_its_own_script_may_run
from rich.console import Console
from scipy import stats

from pretext.benchmark.results import Board
from pretext.benchmark.summary import correlation, summary
from pretext.benchmark.verdict import verdict
from pretext.evaluation.statistics.intervals import wilson
from pretext.report import leaderboard_figures as figures
from pretext.report.leaderboard import markdown, spearman, table, write_csv
from pretext.report.leaderboard_page import write_html
from pretext.report.verdicts import of_board

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
TESTED = 2000
EXPECTED = Path(__file__).parent / "expected"
EVIL = '<b>"evil" & |co*\n\''


def score(accuracy, items=TESTED, **more):
    right = round(accuracy * items)
    return {"accuracy": right / items, **wilson(right, items)._asdict(), **more}


def row(stage, accuracy, chosen=False):
    linear = score(accuracy, l2=0.003, validation=accuracy + 0.01)
    nearest = {k: score(accuracy - fall) for k, fall in (("1", 0.12), ("20", 0.09), ("200", 0.1))}
    knn = {**nearest["20"], "k": 20, "validation": accuracy - 0.08}
    quality = {"rankme": 300 * accuracy, "alpha_req": 1.2, "uniformity": -2.1, "zipf_kl": 0.3}
    scores = {"linear": linear, "knn": knn, "nearest": nearest, "quality": quality}
    return {"stage": stage, "dims": 4096, "chosen": chosen, **scores}


def point(stage, labels, items, accuracy):
    return {"stage": stage, "labels": labels, "items": items, "draws": 5, **score(accuracy)}


def cell(entry, seed=0, best=0.6, at="layer3", kind="trained", skill=0.3, fall=0.04, stages=STAGES, points=True):
    """One run, whose accuracy is `best` at the stage `at` and falls by `fall` with each stage away from it."""
    if kind == "raw":
        stages, at = ("pixels",), "pixels"
    rows = [row(s, best - fall * abs(i - stages.index(at)), s == at) for i, s in enumerate(stages)]
    few = [("1 per class", 10, 0.5), ("5 per class", 50, 0.65), ("20 per class", 200, 0.75)]
    few += [("10 %", 1000, 0.9), ("100 %", 10_000, 1.0)]
    pretext = {"skill": skill, "scores": {"turn/accuracy": 0.64}, "chance": {"turn/accuracy": 0.25}}
    return {
        "entry": entry, "kind": kind, "seed": seed, "rows": rows,
        "low_label": [point(at, labels, items, share * best) for labels, items, share in few] if points else [],
        "pretext": pretext if kind == "trained" else None,
        "seconds": {"train": 212.0 if kind in ("trained", "supervised") else 0.0, "probe": 14.0},
        "command": f"pretext fit -c configs/image/{entry}.yaml --seed_everything {seed}", "failed": None,
    }  # fmt: skip


DATA = {"class": "ImageFolder", "train": 10_000, "test": TESTED, "classes": ["cat", "dog"] * 5}
PROTOCOL = {"view": "centre", "chance": 0.1, "l2": "one of 1e-5, 0.001"}


def board(cells, name="cifar10", planned=None, data=DATA, protocol=PROTOCOL):
    plain = {"name": name, "data": data, "protocol": protocol, "planned": planned or len(cells), "cells": cells}
    return Board.from_json(json.loads(json.dumps(plain)))


ENTRIES = {
    "rotation": (0.62, "layer2", 0.55), "jigsaw": (0.57, "layer2", 0.41), "relative position": (0.55, "layer3", 0.33),
    "inpainting": (0.49, "layer1", 0.18), "colorization": (0.54, "layer2", 0.22), "split-brain": (0.53, "layer2", 0.2),
    "counting": (0.47, "layer1", 0.6), "super-resolution": (0.45, "layer1", 0.12), "contrast": (0.66, "layer4", 0.63),
}  # fmt: skip


def benchmark(places=3):
    """Make boards as `pretext bench` would: nine methods, three baselines, three seeds, five stages, one failed run."""
    dice, boards = random.Random(0), []
    for place, name in enumerate(["cifar10", "clothing10", "esc10"][:places]):
        cells = []
        for entry, (best, at, skill) in ENTRIES.items():
            shift = dice.gauss(-0.05 * place, 0.03)
            for seed in range(3):
                stage = STAGES[min(4, STAGES.index(at) + (seed == 2 and entry == "jigsaw"))]
                noise = [dice.gauss(0, 0.012), dice.gauss(0, 0.02)]
                cells.append(cell(entry, seed, best + shift + noise[0], stage, skill=skill + noise[1]))
                cells[-1]["seconds"]["train"] = 900 * (0.3 + dice.random())
        cells += [cell("random", s, 0.44 + dice.gauss(0, 0.01), "stem", "random") for s in range(3)]
        cells += [cell("supervised", s, 0.74 + dice.gauss(0, 0.01), "layer4", "supervised") for s in range(3)]
        cells += [cell("raw", 0, 0.39, kind="raw")]
        if place == places - 1:
            cells[4] |= {"failed": "FloatingPointError: the loss\nis not finite at step 120", "rows": []}
        boards.append(board(cells, name, planned=len(cells) + place))
    return boards


def html_of(boards, tmp_path):
    write_html(
        boards, tmp_path / "leaderboard.html", "A <i>benchmark</i>", "pretext bench -c a.yaml", {"torch": "2.14.0"}
    )
    return (tmp_path / "leaderboard.html").read_text(encoding="utf-8")


def by_name(entries):
    return {entry.name: entry for entry in entries}


class TestSummary:
    def test_the_mean_over_seeds_and_students_t_by_hand(self):
        main = summary(board([cell("a", seed, best) for seed, best in enumerate((0.60, 0.62, 0.67))]))[0].main
        # mean 0.63, standard deviation sqrt((0.03^2 + 0.01^2 + 0.04^2) / 2) = 0.036056, t(2 degrees, 97.5 %) = 4.302653
        reach = 4.302653 * 0.0360555 / math.sqrt(3)
        assert main[:3] == pytest.approx((0.63, 0.63 - reach, 0.63 + reach), abs=1e-6)
        assert (main.seeds, main.over) == (3, "seeds")

    def test_the_interval_of_a_share_ends_at_0_and_1_but_that_of_a_skill_does_not(self):
        entry = summary(board([cell("a", 0, 0.9, skill=0.95), cell("a", 1, 0.99, skill=0.9)]))[0]
        assert entry.main.high == 1
        assert entry.skill.high == pytest.approx(0.925 + 12.7062 * 0.05 / 2, abs=1e-4)

    def test_a_single_seed_keeps_its_own_interval_and_so_do_seeds_that_agree(self):
        once = summary(board([cell("a", 0, 0.6)]))[0].main
        thrice = summary(board([cell("a", seed, 0.6) for seed in range(3)]))[0].main
        assert once[1:3] == pytest.approx(wilson(1200, 2000))
        assert thrice[:3] == pytest.approx(once[:3])
        assert (once.over, once.seeds, thrice.over, thrice.seeds) == ("items", 1, "items", 3)

    def test_each_seed_counts_at_the_stage_that_it_chose_never_at_the_best_on_test(self):
        cells = [cell("a", 0, 0.6, "layer1"), cell("a", 1, 0.5, "layer4"), cell("a", 2, 0.55, "layer4")]
        cells[0]["rows"][4]["linear"] = score(0.99)  # better on test, not chosen
        entry = summary(board(cells))[0]
        assert entry.main.value == pytest.approx(0.55)
        assert entry.chosen == {"layer1": 1, "layer4": 2}
        assert entry.stages["layer4"].value == pytest.approx((0.99 + 0.5 + 0.55) / 3)

    def test_several_stages_of_which_none_was_chosen_give_no_figure_a_single_one_does(self):
        several, single = cell("a"), cell("b")
        for row in several["rows"] + single["rows"]:
            row["chosen"] = False
        single["rows"] = single["rows"][:1]
        entries = by_name(summary(board([several, single])))
        assert entries["a"].main is None
        assert entries["a"].ranks is None
        assert entries["b"].ranks == (1, 1)

    def test_rank_ranges_by_hand(self):
        # Wilson's intervals of 2,000 items reach 0.021: a and b overlap, b and c do, a and c do not, d is alone
        bests = {"a": 0.66, "b": 0.63, "c": 0.60, "d": 0.40}
        entries = by_name(summary(board([cell(name, 0, best) for name, best in bests.items()])))
        assert {name: entry.ranks for name, entry in entries.items()} == {
            "a": (1, 2),
            "b": (1, 3),
            "c": (2, 3),
            "d": (4, 4),
        }

    def test_baselines_take_no_rank_but_stand_in_the_order(self):
        cells = [cell("a", 0, 0.5), cell("s", 0, 0.9, kind="supervised"), cell("r", 0, 0.48, kind="random")]
        cells += [cell("b", 0, 0.6), cell("pixels", 0, 0.3, kind="raw")]
        entries = summary(board(cells))
        assert [entry.name for entry in entries] == ["s", "b", "a", "r", "pixels"]
        assert [entry.ranks for entry in entries] == [None, (1, 1), (2, 2), None, None]
        assert [entry.above_random for entry in entries] == [None, True, False, None, None]

    def test_an_unknown_interval_is_never_apart(self):
        cells = [cell(name, 0, best, fall=0) for name, best in (("a", 0.9), ("b", 0.3), ("c", 0.2))]
        cells[0]["rows"][3]["linear"] = {"accuracy": 0.9}
        entries = by_name(summary(board(cells)))
        assert entries["a"].ranks == (1, 3)
        assert entries["b"].ranks == (1, 2)

    def test_few_labels_are_averaged_at_the_chosen_stage_in_the_order_of_their_number(self):
        cells = [cell("a", seed, best) for seed, best in enumerate((0.6, 0.64))]
        cells[0]["low_label"].append(point("stem", "5 per class", 50, 0.01))
        few = summary(board([c | {"low_label": c["low_label"][::-1]} for c in cells]))[0].curves["low_label"]
        assert [f.at for f in few] == [10, 50, 200, 1000, 10_000]
        assert few[1].figure.value == pytest.approx(0.65 * 0.62, abs=5e-4)

    def test_a_multi_label_board_ranks_by_mean_average_precision(self):
        rows = [{"stage": "layer4", "chosen": True, "svm": {"map": 0.4, "low": 0.38, "high": 0.42}}]
        entry = summary(board([{"entry": "a", "kind": "trained", "seed": 0, "rows": rows}]))[0]
        assert entry.main == (0.4, 0.38, 0.42, 1, "items")
        assert "mean average precision" in markdown(
            [board([{"entry": "a", "kind": "trained", "seed": 0, "rows": rows}])]
        )

    def test_what_is_left_out_is_left_out_everywhere(self, tmp_path):
        bare = [{"entry": "a", "kind": "trained", "seed": 0, "rows": [{"stage": "stem"}]}]
        bare = board(bare, data={}, protocol={})
        none = {**cell("b"), "low_label": None, "pretext": None, "seconds": None}
        none["rows"] = [row | {"knn": None, "quality": None, "nearest": None} for row in none["rows"]]
        boards = [bare, board([none], "more"), board([], "empty", planned=3)]
        assert summary(bare)[0].main is None
        assert summary(boards[1])[0].main.value == 0.6
        text = Page(html_of(boards, tmp_path)).text + markdown(boards)
        assert "nan" not in text.lower().replace("finance", "")
        assert text.count("0 of 3 cells") == 2
        Console(width=80, quiet=True).print(table(bare))
        write_csv(boards, tmp_path / "a.csv")

    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ([cell("a", 0), cell("a", 0)], "'a' has two finished cells of seed 0"),
            ([cell("a", 0), cell("a", 1, kind="random")], "'a' is of kind 'random', 'trained'"),
            (
                [cell("a", 0, kind="guessed")],
                "'a' is of kind 'guessed'; give each entry one kind of 'trained', 'random'",
            ),
        ],
    )
    def test_contradictions_are_refused(self, cells, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            summary(board(cells))

    def test_a_failed_cell_may_stand_beside_its_repetition(self):
        failed = {**cell("a", 0), "rows": [], "failed": "out of\nmemory"}
        found = board([failed, cell("a", 0), {**failed, "entry": "b"}], planned=5)
        assert found.status == "1 of 5 cells; failed: a, seed 0 (out of memory), b, seed 0 (out of memory)"
        assert [(entry.name, entry.main is None) for entry in summary(found)] == [("a", False), ("b", True)]


def ranked(skills, bests):
    cells = [cell(str(i), 0, best, skill=skill) for i, (skill, best) in enumerate(zip(skills, bests, strict=True))]
    return correlation(summary(board(cells)))


class TestCorrelation:
    def test_it_is_spearmans(self):
        dice = random.Random(1)
        skills, bests = zip(*((dice.random(), round(0.4 + 0.4 * dice.random(), 3)) for _ in range(12)), strict=True)
        found, expected = ranked(skills, bests), stats.spearmanr(skills, bests)
        assert found.n == 12
        assert (found.rho, found.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert found.low < found.rho < found.high

    def test_perfect_order_of_four_is_one_or_its_reverse_of_24(self):
        found = ranked([0.1, 0.2, 0.3, 0.4], [0.5, 0.55, 0.6, 0.7])
        assert (found.rho, found.p) == pytest.approx((1, 2 / 24))
        assert math.isnan(found.low)  # no interval of zero width

    def test_the_exact_p_value_is_that_of_all_permutations(self):
        skills, bests = [0.1, 0.3, 0.3, 0.2, 0.6, 0.5], [0.5, 0.55, 0.52, 0.6, 0.64, 0.57]
        expected = stats.permutation_test(
            (skills,), lambda x: stats.spearmanr(x, bests).statistic, permutation_type="pairings", n_resamples=10_000
        )
        assert ranked(skills, bests).p == pytest.approx(expected.pvalue)

    @pytest.mark.parametrize(
        ("bests", "rho", "p"), [([0.7, 0.6, 0.5], -1, 2 / 6), ([0.5, 0.6, 0.7], 1, 2 / 6), ([0.5, 0.7, 0.6], 0.5, 1)]
    )
    def test_three_have_a_correlation_but_no_interval(self, bests, rho, p):
        found = ranked([0.1, 0.2, 0.3], bests)
        assert (found.rho, found.p) == pytest.approx((rho, p))
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert f"{rho:.2f}, p = {p:.2g}, n = 3" in spearman(found)

    def test_two_are_too_few_and_all_equal_is_undefined(self):
        assert "2 entries have both: too few" in spearman(ranked([0.1, 0.2], [0.5, 0.6]))
        assert "the same for all 4 entries" in spearman(ranked([0.2] * 4, [0.5, 0.6, 0.7, 0.8]))


def test_what_is_left_without_the_relation_has_a_column_where_some_task_has_a_control():
    cells = [cell("a", 0, 0.7), cell("b", 0, 0.5)]
    cells[1]["pretext"]["control"] = 0.87
    shown, plain_one = (markdown([board(each)]).splitlines() for each in (cells, cells[:1]))
    header, first, second = (shown[at] for at in (4, 6, 7))
    at = [title.strip() for title in header.split("|")].index("Control")
    assert [row.split("|")[at].strip() for row in (first, second)] == ["-", "0.87"]
    assert any("Control: what share" in row for row in shown)
    assert not any("Control" in row for row in plain_one)
    cells[1]["pretext"].update(skill=0.04, control=38.5)  # as of a jigsaw that was hardly begun
    assert not any("Control" in row for row in markdown([board(cells)]).splitlines())


class TestText:
    def test_the_files_are_those_of_earlier_releases_byte_for_byte(self, tmp_path):
        boards = [Board.from_json(plain) for plain in json.loads((EXPECTED / "boards.json").read_text())]
        write_csv(boards, tmp_path / "leaderboard.csv")
        assert (tmp_path / "leaderboard.csv").read_bytes() == (EXPECTED / "leaderboard.csv").read_bytes()
        assert markdown(boards).encode() == (EXPECTED / "leaderboard.md").read_bytes()

    def test_one_row_of_csv_per_board_entry_seed_and_stage(self, tmp_path):
        boards = benchmark(2)
        write_csv(boards, tmp_path / "leaderboard.csv")
        with (tmp_path / "leaderboard.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        keys = [(row["board"], row["entry"], row["seed"], row["stage"]) for row in rows]
        assert len(set(keys)) == len(keys) == 2 * (11 * 3 * 5 + 1) - 5 + 1  # a failed cell has one row for its five
        assert sum(row["chosen"] == "True" for row in rows) == 2 * 34 - 1
        first, cell = rows[2], boards[0].to_json()["cells"][0]
        assert float(first["linear/accuracy"]) == cell["rows"][2]["linear"]["accuracy"]
        assert float(first["nearest/200/low"]) == cell["rows"][2]["nearest"]["200"]["low"]
        assert float(first["pretext/skill"]) == cell["pretext"]["skill"]
        assert float(first["low_label/5 per class/accuracy"]) == cell["low_label"][1]["accuracy"]
        assert rows[0]["low_label/5 per class/accuracy"] == ""  # not its stage
        failed = [row for row in rows if row["failed"]]
        assert [(row["entry"], row["seed"], row["stage"]) for row in failed] == [("jigsaw", "1", "")]

    def test_markdown_has_the_figures_and_its_tables_keep_their_columns(self):
        text = markdown(benchmark())
        best = summary(benchmark()[0])[1]
        bounds = "-".join(f"{100 * end:.1f}" for end in best.main[1:3])
        assert f"| 1-2 | {best.name} | {100 * best.main.value:.1f} ({bounds}) |" in text
        assert "33 of 36 cells; failed: jigsaw, seed 1" in text
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1

    def test_names_do_not_break_the_markdown(self):
        text = markdown([board([cell(EVIL)], EVIL)])
        assert "<b>" not in text
        assert r"&lt;b>\"evil\" &amp; \|co\* '" in text.replace('"', r"\"")

    def test_the_terminal_shows_every_figure_in_80_columns(self):
        found = benchmark()[-1]
        console = Console(width=80, record=True, quiet=True)
        with console.capture() as captured:
            Console(width=80, file=console.file)
            console.quiet = False
            console.print(table(found))
        text = captured.get()
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for entry in summary(found):
            low, high = (f"{100 * end:.1f}" for end in entry.main[1:3])
            assert f"{100 * entry.main.value:.1f} ({low}-{high})" in text
        assert "super-resolution" in text

    def test_square_brackets_in_names_are_no_markup(self):
        console = Console(width=80)
        with console.capture() as captured:
            console.print(table(board([cell("[red]a[/]")], "[b]board")))
        assert "[red]a[/]" in captured.get()
        assert "[b]board" in captured.get()


def scatter(board):
    entries = summary(board)
    return figures.skill(board, entries, figures.levels_of(board, entries)).partition("<figure>")[2]


def test_the_verdict_is_what_intervals_allow():
    def seeds(entry, best, spread=0.001, kind="trained"):
        return [cell(entry, seed, best + spread * seed, kind=kind) for seed in range(3)]

    known = [*seeds("rotation", 0.6), *seeds("jigsaw", 0.5), *seeds("random", 0.4, kind="random")]
    made = board(known)
    told = of_board(made, verdict(summary(made))).replace("\u00a0", " ")
    reach = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert told == (
        f"cifar10, linear probe: rotation (60.1 % ({60.1 - reach:.1f} to {60.1 + reach:.1f})) leads. 2 of 2 entries "
        f"trained without labels beat random initialisation (40.1 % ({40.1 - reach:.1f} to {40.1 + reach:.1f}))."
    )
    close = board([*seeds("rotation", 0.6, 0.05), *seeds("jigsaw", 0.59), *seeds("random", 0.7, kind="random")])
    found = verdict(summary(close))
    assert (found.leader.name, found.level, found.beating, found.outcome) == (
        "rotation",
        ("jigsaw",),
        (),
        "cannot be told from",
    )
    assert "is first, but cannot be told from jigsaw" in of_board(close, found)
    nothing = board(seeds("random", 0.4, kind="random"))
    assert "no entry that is trained without labels" in of_board(nothing, verdict(summary(nothing)))
    alone = board([*seeds("rotation", 0.4), *seeds("random", 0.6, kind="random")])
    assert "does not beat random initialisation" in of_board(alone, verdict(summary(alone)))


class TestPage:
    def test_it_is_well_formed_and_loads_nothing_from_elsewhere(self, tmp_path):
        html = html_of(benchmark(), tmp_path)
        assert loads_nothing(html)
        assert only_its_own_script_may_run(html)
        assert not re.search(r"\snan\b|[\"' ,]nan", html)
        ids = [attrs["id"] for _, attrs in Page(html).tags if "id" in attrs]
        assert ids == ["board-0", "board-1", "board-2"]

    def test_names_are_escaped_everywhere(self, tmp_path):
        evil = cell(EVIL, stages=(EVIL,), at=EVIL) | {"command": EVIL}
        evil["rows"][0]["nearest"][EVIL] = score(0.5)
        evil["rows"][0]["quality"][EVIL] = 1.0
        evil["pretext"]["scores"][EVIL] = 0.5
        evil["low_label"][0]["labels"] = EVIL
        failed = {**cell(EVIL, 1), "failed": EVIL, "rows": []}
        found = [board([evil, failed, cell("plain", 0)], EVIL, None, {"class": EVIL}, {EVIL: EVIL})] * 2
        write_html(found, tmp_path / "l.html", EVIL, EVIL, {EVIL: EVIL})
        html = (tmp_path / "l.html").read_text()
        page = Page(html)
        assert [attrs for tag, attrs in page.tags if tag == "b" and set(attrs) != {"class", "style"}] == []
        assert only_its_own_script_may_run(html)
        assert page.text.count('<b>"evil"') > 20
        assert not {name for _, attrs in page.tags for name in attrs if not re.fullmatch("[a-z-]+[12]?", name, re.I)}

    def test_every_figure_stands_in_the_table_with_its_interval(self, tmp_path):
        boards = benchmark()
        text = Page(html_of(boards, tmp_path)).text
        for entry in (entry for board in boards for entry in summary(board)):
            low, high = (f"{100 * end:.1f}" for end in entry.main[1:3])
            assert f"{100 * entry.main.value:.1f} {low} to {high}" in text
        assert "33 of 36 cells; failed: jigsaw, seed 1 (FloatingPointError: the loss is not finite at step 120)" in text
        assert "n = 9" in text

    def test_every_stage_is_in_the_heat_map_with_stars_at_what_was_chosen(self, tmp_path):
        board = benchmark()[-1]
        (heat,) = (
            table for table in re.findall('<table class="heat">.*?</table>', html_of([board], tmp_path), re.DOTALL)
        )
        cells = Page(heat).cells
        for entry in (entry for entry in summary(board) if entry.kind != "raw"):
            row = cells[cells.index(entry.name) + 1 :][: len(STAGES)]
            for stage, text in zip(STAGES, row, strict=True):
                star = "" if stage not in entry.chosen else "★ " if len(entry.chosen) == 1 else "☆ "
                assert text == f"{star}{100 * entry.stages[stage].value:.1f}"

    def test_intervals_and_baselines_are_drawn_to_scale(self, tmp_path):
        cells = [cell("a", 0, 0.7), cell("b", 0, 0.5), cell("random", 0, 0.5, kind="random")]
        html = html_of([board(cells)], tmp_path)
        rows = r'<tr class="trained">.*?data-value="([ab])°?".*?(<svg class="strip".*?</svg>)'
        rows = dict(re.findall(rows, html, re.DOTALL))
        at = {name: float(re.search(r'class="dot" cx="([\d.]+)"', svg)[1]) for name, svg in rows.items()}
        level = {
            kind: float(re.search(rf'"{kind}"><path class="line" d="M([\d.]+)', rows["a"])[1])
            for kind in ("random", "chance")
        }
        assert at["b"] == level["random"]
        assert (at["a"] - at["b"]) / (at["b"] - level["chance"]) == pytest.approx(0.2 / 0.4, abs=0.01)
        low, high = map(float, re.search(r'class="bar" d="M([\d.]+) 15\.0H([\d.]+)', rows["a"]).groups())
        assert (high - low) / (at["a"] - at["b"]) == pytest.approx(
            (wilson(1400, 2000).high - wilson(1400, 2000).low) / 0.2, abs=0.01
        )

    def test_names_of_the_scatter_cover_neither_dots_nor_one_another(self):
        drawn = scatter(benchmark()[0])
        words = re.findall(r'<text class="words" x="([\d.]+)" y="([\d.]+)" text-anchor="start">(.*?)<', drawn)
        dots = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', drawn)]
        assert len(words) == len(dots) == len(ENTRIES)
        boxes = [(float(x), float(y) - 10, float(x) + 6.5 * len(name), float(y) + 2) for x, y, name in words]
        assert not [1 for a, b, c, d in boxes for x, y in dots if a < x < c and b < y < d]
        pairs = [(one, other) for i, one in enumerate(boxes) for other in boxes[:i]]
        assert not [1 for (a, b, c, d), (e, f, g, h) in pairs if max(a, e) < min(c, g) and max(b, f) < min(d, h)]

    def test_the_scatter_is_to_scale(self):
        places = {"a": (0.1, 0.5), "b": (0.2, 0.6), "c": (0.4, 0.55)}
        drawn = scatter(board([cell(name, 0, best, skill=skill) for name, (skill, best) in places.items()]))
        (bx, by), (cx, cy), (ax, ay) = (  # best first: b, c, a
            map(float, at) for at in re.findall(r'"dot" cx="([\d.]+)" cy="([\d.]+)"', drawn)
        )
        assert (cx - ax) / (bx - ax) == pytest.approx(3, abs=0.01)
        assert (ay - by) / (ay - cy) == pytest.approx(2, abs=0.01)

    def test_an_interval_of_two_seeds_may_be_wide_but_does_not_flatten_the_chart(self, tmp_path):
        cells = [cell(name, 0, best) for name, best in (("a", 0.7), ("b", 0.5), ("c", 0.6))] + [cell("c", 1, 0.66)]
        assert summary(board(cells))[1].main.low < 0.3
        html = html_of([board(cells, protocol={})], tmp_path)
        dots = [float(x) for x in re.findall(r'<svg class="strip".*?class="dot" cx="([\d.]+)"', html)]
        assert max(dots) - min(dots) > 60  # of 170; if all of the interval were shown, 35
        for bar in re.findall(r'class="bar" d="M([\d.]+) 15\.0H([\d.]+)"', html):
            assert all(0 <= float(x) <= 170 for x in bar)

    def test_a_panel_of_few_labels_per_entry_on_a_logarithmic_scale(self):
        own = board([cell("a", 0, 0.7), cell("b", 0, 0.5), cell("random", 0, 0.5, kind="random")])
        ((_, _, panels, _),) = figures.curves(own, summary(own))
        drawn = "".join(panels)
        assert re.findall("<figcaption>(.*?)</figcaption>", drawn) == ["a", "b"]
        path = re.search(r'<g class="trained"><path class="line" d="M(.*?)"', drawn)[1]
        x = [float(point.split()[0]) for point in path.split("L")]  # 10, 50, 200, 1,000, 10,000
        assert x[4] - x[3] == pytest.approx((x[3] - x[0]) / 2, abs=0.2)
        assert (x[1] - x[0]) / (x[4] - x[3]) == pytest.approx(math.log10(5), abs=0.01)


def dom_of(html, tmp_path):
    """Open a page in a browser and write down what its scripts made of it."""
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    run = [*command, (tmp_path / "page.html").as_uri()]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
def test_a_browser_sorts_and_puts_missing_figures_last(tmp_path):
    cells = [cell("a", 0, 0.7), cell("b", 0, 0.5, skill=0.9), cell("c", 0, 0.6, kind="random"), cell("d", 0, 0.4)]
    html = html_of([board(cells)], tmp_path)
    click = """
      var heads = document.querySelectorAll("table.board")[0].querySelectorAll("th[data-first]"), said = [];
      [5, 5, 1, 2].forEach(function (head) {
        heads[head].querySelector("button").click();
        var names = document.querySelectorAll("table.board")[0].querySelectorAll("tbody th");
        said.push(Array.from(names).map(function (name) { return name.textContent[0]; }).join("") + "-"
          + heads[head].getAttribute("aria-sort") + "-" + document.querySelectorAll("[aria-sort]").length);
      });
      document.title = "sorted " + said.join(" ");"""
    assert (
        dom_of(html, tmp_path).count("<button") == html.count("data-first=") > 8
    )  # the page's own policy lets its script run
    # The page's policy refuses any other script, so it goes for this test.
    page = re.sub("<meta http-equiv[^>]*>", "", html).replace("</body>", f"<script>{click}</script></body>")
    said = re.search("<title>sorted (.*?)</title>", dom_of(page, tmp_path))[1]
    assert said.split() == ["badc-descending-1", "adbc-ascending-1", "abcd-ascending-1", "acbd-descending-1"]
