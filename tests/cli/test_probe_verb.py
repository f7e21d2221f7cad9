import io
import json

import pytest
import torch
from matplotlib.image import imread
from nets import TinyNet
from rich.console import Console
from torch.nn.functional import cross_entropy

from datamodules import Digits
from pretext.evaluation.baselines import raw_input
from pretext.evaluation.probe import ProbedData, ProbePlan, probe_run
from pretext.evaluation.results import ProbeResult
from pretext.evaluation.statistics.intervals import wilson
from pretext.report.probe import plot, tables

# What stands in the rows. Few labels, a curve of its own, takes ten times as long, so it is measured in `run` alone.
OF_ROWS = ("linear", "knn", "quality")


def view(x):
    return x.float() / 255


class Relabelled:
    """Digits with other labels on the test images, or with no names for them at all."""

    def __init__(self, classes=None):
        self.data = Digits(size=8)
        self.classes = self.data.classes if classes is None else classes

    def ordered(self, split):
        for batch in self.data.ordered(split):
            yield batch | ({"y": batch["y"].flip(0)} if split == "test" else {})

    def fingerprint(self, split):
        return "flipped" + self.data.fingerprint(split)


def net(seed):
    torch.manual_seed(seed)
    return TinyNet()


def probed(trained, data, folder, view=view, key="whole", command="pretext probe RUN", **plan):
    networks = {"trained": trained, "random": net(1), "raw": raw_input(trained, 2048)}
    return probe_run(networks, ProbedData(data, view, key), folder, command, ProbePlan(device="cpu", **plan))


@pytest.fixture(scope="module")
def trained():
    """Taught the classes themselves, so there is no doubt that it learned something."""
    backbone, data = net(0), Digits(size=8)
    head = torch.nn.Linear(backbone.dim, 10)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], 1e-2)
    for _ in range(4):
        for batch in data.train_dataloader():
            loss = cross_entropy(head(backbone(view(batch["x"])).pooled), batch["y"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return backbone


@pytest.fixture(scope="module")
def run(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("run")
    return folder, probed(trained, Digits(size=8), folder)


def of(result, features):
    return {row.stage: row.to_json() for row in result.stages if row.features == features}


def test_what_was_learnt_shows_beside_random_and_pixels(run):
    _, result = run
    trained, random, pixels = (of(result, features) for features in ("trained", "random", "raw"))
    assert list(trained) == list(random) == ["conv1", "conv2"]
    assert trained["conv2"]["knn"]["low"] > random["conv2"]["knn"]["high"]
    assert trained["conv2"]["linear"]["accuracy"] > random["conv2"]["linear"]["accuracy"] > 0.9
    assert pixels["pixels"]["linear"]["accuracy"] > 0.9  # handwritten digits are nearly linear in their pixels
    assert pixels["pixels"]["knn"]["accuracy"] > 0.95
    assert trained["conv2"]["dims"] == 16 * 2 * 2
    assert result.data == {"class": "Digits", "train": 1297, "test": 500, "classes": list("0123456789")}


def test_every_accuracy_stands_in_its_interval(run):
    for row in run[1].stages:
        for name in ("knn", "linear"):
            accuracy, *interval = row.score(name).value("accuracy")
            assert tuple(interval) == wilson(round(accuracy * 500), 500)


def test_the_best_stage_is_the_one_with_the_best_validation(run):
    for features in ("trained", "random", "raw"):
        rows = of(run[1], features).values()
        (chosen,) = (row for row in rows if row["chosen"])
        assert chosen["linear"]["validation"] == max(row["linear"]["validation"] for row in rows)


def test_test_labels_choose_nothing(run, tmp_path, trained):
    blind = probed(trained, Relabelled(), tmp_path, protocols=OF_ROWS)
    for one, other in zip(run[1].to_json()["rows"], blind.to_json()["rows"], strict=True):
        assert one["chosen"] == other["chosen"]
        assert one["knn"]["k"] == other["knn"]["k"]
        assert one["linear"]["l2"] == other["linear"]["l2"]
        assert one["linear"]["validation"] == other["linear"]["validation"]
        assert other["linear"]["accuracy"] < 0.3


def test_files_hold_the_result_and_a_second_run_looks_at_nothing(run, trained):
    folder, result = run
    plain = json.loads((folder / "probe.json").read_text())
    assert plain == result.to_json()
    assert ProbeResult.from_json(plain) == result
    passes = []
    hook = trained.register_forward_hook(lambda *_: passes.append(1))
    again = probed(trained, Digits(size=8), folder, protocols=OF_ROWS)
    hook.remove()
    assert passes == []
    assert again.stages == result.stages


def test_the_picture_is_wide_and_not_empty(run, tmp_path):
    plot(run[1]).savefig(tmp_path / "probe.png")
    picture = imread(tmp_path / "probe.png")
    assert picture.shape[1] > picture.shape[0] > 400
    assert picture[..., :3].std() > 0.05


def test_another_view_is_another_set_of_features(run, trained):
    folder, result = run
    upside_down = probed(trained, Digits(size=8), folder, lambda x: view(x).flip(2), "flipped", protocols=OF_ROWS)
    assert upside_down.stages != result.stages


def test_the_table_fits_a_narrow_terminal_and_a_pipe(run):
    _, result = run
    out = io.StringIO()
    for table in tables(result):
        Console(file=out, width=80).print(table.rich())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    for row in result.stages:
        share, low, _ = row.score("linear").value("accuracy")
        accuracy = f"{100 * share:.1f} ({100 * low:.1f}-"
        assert any(row.stage in line and accuracy in line for line in lines)


def test_markdown_has_a_row_for_each_stage(run):
    _, result = run
    accuracies, few, quality = (table.markdown() for table in tables(result))
    rows = accuracies.splitlines()
    assert len(rows) == 2 + len(result.stages)
    assert len({line.strip("|").count("|") for line in rows}) == 1
    assert sum("★" in line for line in rows) == 3
    assert "5 per class" in few
    assert "rankme" in quality


def test_unlabelled_data_is_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match=r"Relabelled has none; .*--data datamodules\.ImageFolder --data.root DIR"):
        probed(net(0), Relabelled(classes=[]), tmp_path)


def test_few_labels_and_label_free_scores_stand_beside(run):
    _, result = run
    points = [point for point in result.curves["low_label"] if point.features == "trained"]
    assert {point.stage for point in points} == {r["stage"] for r in of(result, "trained").values() if r["chosen"]}
    at = {point.score.figures["labels"]: point.score.figures for point in points}
    assert at["1 per class"]["items"] == 10
    assert at["1 per class"]["accuracy"] < at["20 per class"]["accuracy"] <= at["100 %"]["accuracy"] + 0.02
    for row in result.to_json()["rows"]:
        assert 1 <= row["quality"]["rankme"] <= row["dims"]
        assert row["nearest"][str(row["knn"]["k"])]["accuracy"] == row["knn"]["accuracy"]


def test_what_is_not_asked_for_is_not_measured(trained, tmp_path):
    result = probed(trained, Digits(size=8), tmp_path, protocols=("knn",))
    assert result.to_json()["low_label"] == []
    for row in result.to_json()["rows"]:
        assert set(row) == {"features", "stage", "dims", "chosen", "knn", "nearest"}
    for features in ("trained", "random"):  # then the neighbours choose the stage
        rows = of(result, features).values()
        (chosen,) = (row for row in rows if row["chosen"])
        assert chosen["knn"]["validation"] == max(row["knn"]["validation"] for row in rows)


def test_the_files_of_a_split_are_looked_at_once_for_all_networks(trained, tmp_path):
    asked = []

    class Counted(Relabelled):
        def fingerprint(self, split):
            asked.append(split)
            return super().fingerprint(split)

    probed(trained, Counted(), tmp_path, protocols=("knn",))
    assert sorted(asked) == ["test", "train"]
    with pytest.raises(ValueError, match="there is no augmentation"):
        probed(trained, Counted(), tmp_path, views=2)
    assert len(asked) == 2  # what cannot be is told before files are looked at


def test_augmented_views_are_fitted_too_and_tell_how_alike_they_are(run, trained, tmp_path):
    def noisy(x, generator):
        return view(x) + 0.3 * torch.randn(x.shape, generator=generator)

    data = ProbedData(Digits(size=8), view, "whole", augment=noisy, augment_key="noise")
    plan = ProbePlan(("linear", "quality"), views=2, device="cpu")
    result = probe_run({"trained": trained}, data, tmp_path, "", plan)
    rows, plain = of(result, "trained"), of(run[1], "trained")
    for stage, row in rows.items():
        assert row["quality"]["alignment"] > 0
        assert row["quality"]["lidar"] >= 1
        assert row["linear"] != plain[stage]["linear"]
        assert row["linear"]["accuracy"] > 0.8
    with pytest.raises(ValueError, match=r"views=2, but there is no augmentation"):
        probed(trained, Digits(size=8), tmp_path, views=2)


def test_stages_that_nobody_asks_for_are_not_measured(run, trained, tmp_path):
    data, plan = ProbedData(Digits(size=8), view, "whole"), ProbePlan(("knn",), device="cpu", stages=["conv2"])
    result = probe_run({"trained": trained}, data, tmp_path, "", plan)
    assert list(of(result, "trained")) == ["conv2"]
    assert result.stages[0].score("knn") == next(row for row in run[1].stages if row.stage == "conv2").score("knn")
    with pytest.raises(ValueError, match="no stage layer4 among those of the backbone: conv1, conv2"):
        probe_run({"trained": trained}, data, tmp_path, "", plan._replace(stages=["layer4"]))


def test_views_of_a_held_out_item_are_held_out_too(trained, tmp_path):
    """Copies of an item on both sides would let a probe that learns items by heart look good on validation."""

    class Shuffled(Relabelled):
        def ordered(self, split):
            generator = torch.Generator().manual_seed(0)
            batches = self.data.ordered(split)
            return [batch | {"y": torch.randint(10, batch["y"].shape, generator=generator)} for batch in batches]

    data = ProbedData(Shuffled(), view, "whole", augment=lambda x, generator: view(x), augment_key="the same again")
    result = probe_run({"trained": trained}, data, tmp_path, "", ProbePlan(("linear",), views=3, device="cpu"))
    for row in result.stages:
        assert row.score("linear").validation < 0.2
        assert row.score("linear").value("accuracy").value < 0.2
