import csv
import json
import math
import re

import pytest
import torch
from html_page import Page, loads_nothing, only_its_own_script_may_run

from pretext import Panel
from pretext.evaluation.results import ProbeResult
from pretext.report.puzzles import paint
from pretext.report.run import summary, write_report
from pretext.report.verdicts import UNPROBED, of_probe, of_test

STAGES = ("stem", "layer1", "layer2")


def probe_row(features, stage, accuracy, chosen=False):
    cell = {"accuracy": accuracy, "low": accuracy - 0.0123, "high": accuracy + 0.0117}
    knn = {**cell, "accuracy": accuracy - 0.1, "k": 20}
    linear = {**cell, "l2": 0.0003, "validation": accuracy + 0.0211}
    return {"features": features, "stage": stage, "dims": 640, "chosen": chosen, "knn": knn, "linear": linear}


PROBE = {
    "data": {"class": "datamodules.Digits", "train": 1437, "test": 360, "classes": ["nought", "one & only"]},
    "protocol": {"chance": 0.1, "pooling": "4 x 4"},
    "rows": [
        probe_row("trained", "stem", 0.544),
        probe_row("trained", "layer1", 0.561, chosen=True),
        probe_row("trained", "layer2", 0.474),
        probe_row("random", "stem", 0.518, chosen=True),
        probe_row("random", "layer1", 0.455),
        probe_row("random", "layer2", 0.358),
        probe_row("raw", "pixels", 0.372, chosen=True),
    ],
    "seconds": 12.75,
    "command": "pretext probe runs/demo --data.size 32",
}
METRICS = [
    {"epoch": 0, "step": 9, "lr": 0.1, "train/turn/loss": 1.5, "train/turn/accuracy": 0.2, "train/loss": 1.5},
    {"epoch": 0, "step": 19, "lr": 0.2, "train/turn/loss": 1.2, "train/turn/accuracy": 0.4, "train/loss": 1.2},
    {"epoch": 0, "step": 19, "val/turn/loss": math.log(4), "val/turn/accuracy": 0.3125, "val/loss": math.log(4)},
    {"epoch": 1, "step": 39, "val/turn/loss": 1.0, "val/turn/accuracy": 0.625, "val/loss": 1.0},
]
CONFIG = "model: {seed: 0}  # <script>alert('&')</script>\n"


def write_metrics(run, rows):
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def run(tmp_path):
    """A run's folder with everything in it."""
    run = tmp_path / "runs" / "demo"
    run.mkdir(parents=True)
    write_metrics(run, METRICS)
    (run / "chance.json").write_text(json.dumps({"turn": {"loss": math.log(4), "accuracy": 0.25}}))
    (run / "probe.json").write_text(json.dumps(PROBE))
    environment = {
        "date": "2025-11-21T01:15:33+00:00",
        "torch": "2.14.0",
        "threads": "2",
        "command": "pretext fit -c a.yaml",
    }
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "config.yaml").write_text(CONFIG)
    (run / "skipped.txt").write_text("cat/<1>.jpg\ttruncated\ndog/2.jpg\tempty\n")
    paint({"turn": [[Panel(torch.rand(3, 8, 8), "which way is up?")]]}, run / "puzzles.png")
    return run


def page_of(run):
    file = write_report(run)
    assert file == run / "report.html"
    return Page(file.read_text(encoding="utf-8"))


def chart(run, title):
    """Cut one chart out of the report."""
    html = write_report(run).read_text(encoding="utf-8")
    found = re.search(rf"<figure><figcaption>{re.escape(title)}.*?</figure>", html, re.DOTALL)
    assert found, title
    return found[0]


def part(figure, kind):
    """Cut what was drawn for one kind of line."""
    return re.search(rf'<g class="{kind}">.*?</g>', figure)[0]


def path(figure, kind):
    """Read the points of a line."""
    drawn = re.search(r'class="line" d="(.*?)"', part(figure, kind))[1]
    return [tuple(map(float, point.split())) for point in re.split("[ML]", drawn)[1:]]


def level(figure, kind):
    """Read the height of a line across."""
    return float(re.search(r'class="line" d="M[\d.]+ ([\d.]+)H[\d.]+"', part(figure, kind))[1])


class TestPage:
    def test_nothing_is_loaded_from_elsewhere_and_only_its_own_script_may_run(self, run):
        html = write_report(run).read_text(encoding="utf-8")
        assert 'src="data:image/png;base64,' in html
        assert loads_nothing(html)
        assert only_its_own_script_may_run(html)

    def test_everything_from_the_files_is_escaped(self, run):
        script = "<script>alert('&')</script>"
        (run / "chance.json").write_text(json.dumps({script: {"loss": 1.0}}))
        rows = [{**probe_row("trained", script, 0.5, chosen=True), "features": "trained"}]
        data = {"class": script, "train": 1, "test": 1, "classes": [script], script: [script]}
        probe = {"rows": rows, "data": data, "protocol": {"chance": 0.1, script: script}, "command": script}
        (run / "probe.json").write_text(json.dumps(probe))
        (run / "environment.json").write_text(json.dumps({script: script, "date": script, "command": script}))
        (run / "skipped.txt").write_text(f"{script}\t{script}\n")
        write_metrics(run, [{"step": 1, f"val/{script}/loss": 1.0, script: 2.0}])
        page = page_of(run.rename(run.with_name("<b>&amp;")))
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert "b" not in {tag for tag, _ in page.tags}
        assert page.text.count("alert") >= 10
        assert CONFIG.strip() in page.text
        assert "<b>&amp;" in page.text

    def test_title_tasks_date_environment_and_commands(self, run):
        text = page_of(run).text
        for words in (
            "demo",
            "turn · 2025-11-21 01:15",
            "2.14.0",
            "pretext fit -c a.yaml",
            PROBE["command"],
            "one & only",
        ):
            assert words in text

    def test_it_begins_with_a_verdict(self, run):
        told = of_probe(ProbeResult.from_json(PROBE))
        text = page_of(run).text
        assert text.index(told[0]) < text.index(told[1]) < text.index("Puzzles")
        (run / "probe.json").unlink()
        assert UNPROBED in page_of(run).text
        score = {"task": "finetune", "accuracy": 0.6, "low": 0.5, "high": 0.7, "chance": 0.1}
        (run / "score.json").write_text(json.dumps(score))
        text = page_of(run).text.replace("\u00a0", " ")
        assert "On the test items: beats chance, 60.0 % (50.0 to 70.0) against 10.0 %." in text
        assert UNPROBED not in text

    def test_it_explains_every_heading_of_its_tables(self, run):
        page = page_of(run)
        html = write_report(run).read_text(encoding="utf-8")
        explained = re.findall("<dt>(.*?)</dt><dd>", html)
        start = page.cells.index("Features")
        for heading in page.cells[start : page.cells.index("L2") + 1]:
            assert heading.split(",")[0] in explained
        assert len(explained) == len(set(explained))

    def test_several_probes_stand_side_by_side(self, run):
        other = json.loads(json.dumps(PROBE))
        other["data"] |= {"class": "Clips", "modality": "grey"}
        other["options"] = {"split.limit": 60}
        (run / "probe-Clips-grey-0.json").write_text(json.dumps(other))
        text = page_of(run).text
        assert "On Clips grey: " in text
        assert "Options of the data that are not its defaults: split.limit 60" in text
        assert text.count("1,437 train, 360 test items") >= 2

    def test_a_numbered_run_is_named_with_its_parent(self, tmp_path):
        (tmp_path / "rotation" / "3").mkdir(parents=True)
        assert "rotation/3" in page_of(tmp_path / "rotation" / "3").text

    def test_skipped_files_are_counted_and_listed(self, run):
        page = page_of(run)
        assert "2 files could not be read" in page.text
        assert {"cat/<1>.jpg", "truncated", "dog/2.jpg", "empty"} <= set(page.cells)

    def test_a_whole_run_misses_nothing(self, run):
        assert page_of(run).missing == []

    @pytest.mark.parametrize(
        ("missing", "command"),
        [
            ("puzzles.png", "pretext show {run}"),
            ("metrics.csv", "pretext fit -c CONFIG"),
            ("probe.json", "pretext probe {run}"),
            ("environment.json", "pretext fit -c CONFIG"),
            ("config.yaml", "pretext fit -c CONFIG"),
        ],
    )
    def test_a_missing_part_says_how_to_make_it(self, missing, command, run):
        (run / missing).unlink()
        assert page_of(run).missing == [command.format(run=run)]

    def test_what_need_not_be_there_is_not_missed(self, run):
        (run / "skipped.txt").unlink()
        (run / "chance.json").unlink()
        text = page_of(run).text
        assert "Skipped" not in text
        assert "blind guess" not in text
        assert "turn · accuracy" in text

    def test_an_empty_folder_makes_a_page_without_any_figure(self, tmp_path):
        page = page_of(tmp_path)
        assert {"svg", "table", "img"}.isdisjoint(tag for tag, _ in page.tags)
        assert len(page.missing) == 5

    def test_unreadable_files_are_named(self, run, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            write_report(tmp_path / "nowhere")
        (run / "metrics.csv").write_text("step,train/loss\n1,0.5\n2,abc\n")
        with pytest.raises(ValueError, match=r"line 3 of .*metrics.csv"):
            write_report(run)
        for content in ('{"rows": [', "[]"):
            (run / "probe.json").write_text(content)
            (run / "metrics.csv").unlink(missing_ok=True)
            with pytest.raises(ValueError, match=r"probe.json"):
                write_report(run)


class TestNumbers:
    def test_every_cell_of_the_probe_table_comes_from_the_file(self, run):
        cells = page_of(run).cells
        start = cells.index("Features")
        width = cells.index("L2", start) + 1 - start
        table = [cells[i : i + width] for i in range(start + width, start + width * 8, width)]
        for row, cell in zip(PROBE["rows"], table, strict=True):
            star = " ★" if row["chosen"] else ""
            linear, knn = (
                "{:.1f} {:.1f} to {:.1f}".format(*(100 * row[kind][key] for key in ("accuracy", "low", "high")))
                for kind in ("linear", "knn")
            )
            assert cell == [row["features"], row["stage"] + star, "640", knn, "20", linear, "0.0003"]

    def test_an_evaluators_test_score_leads_and_it_is_repeated_by_a_test(self, run):
        rows = [
            {"stage": stage, "accuracy": a, "low": a - 0.1, "high": a + 0.1, "chosen": chosen}
            for stage, a, chosen in [("stem", 0.5, False), ("layer1", 0.25, True)]
        ]
        score = {"task": "linear_probe", "rows": rows, "chance": 0.1, "items": 100}
        (run / "score.json").write_text(json.dumps(score))
        (run / "puzzles.png").unlink()
        told = summary(run).replace("\u00a0", " ").splitlines()[0]
        expected = "test accuracy · linear probe · layer1: 25.0 % (95 % interval 15.0 to 35.0; chance 10.0 %)"
        assert told == expected
        text = page_of(run).text
        assert "It poses no puzzles" in text
        assert f"pretext test {run}" in " ".join(text.split())

    @pytest.mark.parametrize(
        ("score", "tile", "verdict"),
        [
            pytest.param(
                {"accuracy": 0.378, "low": 0.323, "high": 0.433, "before": 0.182, "chance": 0.2},
                "test accuracy · few shot: 37.8 % "
                "(95 % interval 32.3 to 43.3; chance 20.0 %; before the examples 18.2 %)",
                "beats chance, 37.8 % (32.3 to 43.3) against 20.0 %. Before an episode's examples it is 18.2 %.",
                id="classes",
            ),
            pytest.param(
                {"loss": 0.5, "low": 0.25, "high": 0.75, "before": 4.0},
                "test loss · few shot: 0.5 (95 % interval 0.25 to 0.75; before the examples 4)",
                "In 600 test episodes the loss after the examples is lower than that before: "
                "0.5 (0.25 to 0.75) against 4.",
                id="values",
            ),
        ],
    )
    def test_who_learns_to_learn_is_compared_with_itself_before_the_examples(self, run, score, tile, verdict):
        (run / "score.json").write_text(json.dumps({"task": "few_shot", "episodes": 600, **score}))
        assert summary(run).replace("\u00a0", " ").splitlines()[0] == tile
        assert verdict in page_of(run).text.replace("\u00a0", " ")

    def test_a_run_whose_config_names_its_class_is_not_sent_to_show(self, run):
        (run / "config.yaml").write_text("model: {class_path: pretext.MetaLearner}")
        (run / "puzzles.png").unlink()
        text = " ".join(page_of(run).text.split())
        assert "It poses no puzzles" in text
        assert f"pretext test {run}" in text
        assert "pretext show" not in text

    def test_few_labels_and_label_free_scores_are_shown(self, run):
        rows = [{**row, "quality": {"rankme": 33.25, "uniformity": -1.5}} for row in PROBE["rows"]]
        few = [
            {
                "features": who,
                "stage": "stem",
                "labels": name,
                "items": n,
                "accuracy": a,
                "low": a,
                "high": a,
            }
            for who, name, n, a in [
                ("trained", "1 per class", 10, 0.25),
                ("trained", "10 %", 144, 0.75),
                ("random", "10 %", 144, 0.5),
            ]
        ]
        (run / "probe.json").write_text(json.dumps({**PROBE, "rows": rows, "low_label": few}))
        cells = page_of(run).cells
        start = cells.index("Labels")
        assert cells[start : start + 4] == ["Labels", "Items", "trained, %", "random, %"]
        assert cells[start + 4 : start + 8] == ["1 per class", "10", "25.0 25.0 to 25.0", "-"]
        assert cells[start + 8 : start + 12] == ["10 %", "144", "75.0 75.0 to 75.0", "50.0 50.0 to 50.0"]
        assert cells.count("33.2") == len(rows)
        assert "144" in chart(run, "Linear probe on few labels")

    def test_a_probe_without_neighbours_has_no_chart_of_them(self, run):
        rows = [{key: value for key, value in row.items() if key != "knn"} for row in PROBE["rows"]]
        (run / "probe.json").write_text(json.dumps({**PROBE, "rows": rows}))
        page = page_of(run)
        assert "Linear probe" in page.text
        assert "kNN" not in page.text

    def test_the_headline(self, run):
        assert summary(run).replace("\u00a0", " ").splitlines() == [
            "turn · accuracy: 62.5 % (validation, step 39; blind guess 25.0 %)",
            "linear probe · layer1: 56.1 % (95 % interval 54.9 to 57.3; random stem 51.8 %; pixels 37.2 %)",
            "kNN · layer1: 46.1 % (95 % interval 54.9 to 57.3; random stem 41.8 %; pixels 27.2 %)",
        ]
        text = page_of(run).text
        for line in summary(run).splitlines():
            assert line.split(": ")[1].split(" (")[0] in text

    def test_each_protocol_is_told_at_the_stage_that_it_chose(self, run):
        """Neighbours may be nearest at another stage than the one where a linear probe is best."""
        rows = [json.loads(json.dumps(row)) for row in PROBE["rows"]]
        for row in rows:
            best = (row["features"], row["stage"]) in (("trained", "layer2"), ("random", "layer1"))
            row["knn"] |= {"validation": 0.9 if best else 0.1, "accuracy": 0.982 if best else 0.758}
        (run / "probe.json").write_text(json.dumps({**PROBE, "rows": rows}))
        told = summary(run).replace("\u00a0", " ").splitlines()
        assert told[1].startswith("linear probe · layer1: 56.1 %")
        assert told[2].startswith("kNN · layer2: 98.2 %")
        assert "random layer1 98.2 %" in told[2]

    def test_without_validation_the_headline_says_that_it_is_training(self, run):
        write_metrics(run, METRICS[:2])
        assert summary(run).startswith("turn · accuracy: 40.0\u00a0% (training, step 19; blind guess")

    def test_a_step_that_a_resumed_run_wrote_again_counts_once(self, run):
        again = [(39, 0.75), (19, 0.5), (29, 0.625)]
        write_metrics(run, [*METRICS, *({"step": step, "val/turn/accuracy": value} for step, value in again)])
        assert "turn · accuracy: 75.0" in summary(run)
        figure = chart(run, "turn · accuracy")
        assert [x for x, _ in path(figure, "val")] == sorted({x for x, _ in path(figure, "val")})
        assert re.findall("<title>(.*?)</title>", part(figure, "val")) == ["50", "62.5", "75"]


class TestCharts:
    def test_a_score_equal_to_chance_lies_on_the_line_of_chance(self, run):
        figure = chart(run, "turn · loss")
        assert level(figure, "chance") == path(figure, "val")[0][1]

    def test_points_are_to_scale(self, run):
        figure = chart(run, "turn · accuracy")
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = path(figure, "train") + path(figure, "val")
        assert (x1 - x0) * 2 == pytest.approx(x3 - x2, abs=0.2)  # 10 steps and 20
        assert (y2 - y3) / (y0 - y1) == pytest.approx(0.3125 / 0.2, abs=0.01)
        assert y0 > y2 > y1 > y3  # 20, 31, 40, 62 %

    def test_values_that_are_no_numbers_leave_a_gap_and_are_counted(self, run):
        values = [1.4, math.nan, 1.2, 1.1, math.inf, 1.0]
        write_metrics(run, [{"step": i, "train/turn/loss": value} for i, value in enumerate(values)])
        figure = chart(run, "turn · loss")
        assert "2 not a finite number" in figure
        drawn = re.search(r'class="line" d="(.*?)"', part(figure, "train"))[1]
        assert "".join(re.findall("[ML]", drawn)) == "MMLM"
        assert not re.search(r'="[^"]*(nan|inf)', figure)

    @pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [math.nan]])
    def test_a_single_or_constant_value_is_drawn_inside(self, values, run):
        write_metrics(run, [{"step": i, "train/turn/loss": value} for i, value in enumerate(values)])
        for x, y in path(chart(run, "turn · loss"), "train"):
            assert 0 < x < 400
            assert 0 < y < 230

    def test_a_long_run_does_not_make_a_heavy_page(self, run):
        write_metrics(run, [{"step": i, "train/turn/loss": 1 / (1 + i)} for i in range(20_000)])
        assert 400 < len(path(chart(run, "turn · loss"), "train")) <= 800

    def test_the_loss_of_all_tasks_is_drawn_if_there_are_several(self, run):
        assert "loss of all tasks" not in page_of(run).text
        write_metrics(run, [*METRICS, {"step": 39, "val/puzzle/loss": 3.0}])
        assert "loss of all tasks" in page_of(run).text

    def test_the_probe_is_drawn_stage_by_stage(self, run):
        figure = chart(run, "Linear probe")
        assert [word for word in re.findall(">([^<>]+)</text>", figure) if word in STAGES] == list(STAGES)
        trained, random = path(figure, "trained"), path(figure, "random")
        assert [x for x, _ in trained] == [x for x, _ in random]
        assert all(
            high < low for (_, high), (_, low) in zip(trained, random, strict=True)
        )  # higher accuracy, higher up
        intervals = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", part(figure, "trained"))
        for (x, y), (at, low, high) in zip(trained, intervals, strict=True):
            assert x == float(at)
            assert float(low) > y > float(high)
        assert level(figure, "raw") > path(figure, "trained")[1][1]  # lower accuracy, lower down


def test_across_domains_it_is_set_beside_source_only_and_the_gap():
    low = {"name": "source only", "accuracy": 0.178, "low": 0.147, "high": 0.214, "chosen": False}
    own = {"name": "DANN", "accuracy": 0.289, "low": 0.256, "high": 0.325, "gap_closed": 0.106, "chosen": True}
    score = {"task": "adaptation", "rows": [own, low], "chance": 0.086}
    assert of_test(score).replace("\u00a0", " ") == (
        "On the target's test items: beats source only, 28.9 % (25.6 to 32.5) against 17.8 % (14.7 to 21.4). "
        "It closes 10.6 % of the gap to training on the target."
    )
    close = own | {"low": 0.2, "gap_closed": None}
    assert "cannot be told from source only, 28.9" in of_test(score | {"rows": [close, low]})
    assert "beats chance" in of_test(score | {"rows": [own]})
