"""The protocol: known answers on made features, what it never looks at, and what it refuses in one line."""

import csv

import pytest
import torch

from pretext.core.rng import rng
from pretext.evaluation.available import with_classes
from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.protocols.zero_shot import ZeroShot, harmonic
from pretext.evaluation.results import ProbeResult, StageRow
from pretext.report.probe import tables

NAMES = [f"class {k}" for k in range(16)]
SIGNS = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)[torch.randperm(16, generator=rng("cpu", 1))]
UNSEEN = (12, 13, 14, 15)


def write(file, change=None, header=("class", "split", "striped", "large", "round", "wild")):
    """Write the classes' attributes, changed by `change`."""
    rows = [
        [name, "unseen" if k in UNSEEN else "seen", *(f"{v:g}" for v in SIGNS[k].tolist())]
        for k, name in enumerate(NAMES)
    ]
    if change:
        change(rows)
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])
    return file


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def embedded(n, seed, noise=0.0, knows=1.0):
    labels = torch.arange(n) % 16
    stages = {"stage": knows * SIGNS[labels] @ draw(4, 8, seed=9) + noise * draw(n, 8, seed=seed)}
    return Embedded(stages, stages, labels)


def measured(file, train=None, test=None):
    return measure(train or embedded(160, 1), test or embedded(320, 5), [ZeroShot(file)], classes=NAMES)


@pytest.fixture
def attributes(tmp_path):
    return write(tmp_path / "attributes.csv")


def test_noiseless_attributes_are_recognised_and_noise_is_chance(attributes):
    (good,) = measured(attributes).rows
    score = good.score("zero_shot").figures
    assert score["unseen"] == score["validation"] == 1
    assert score["high"] == pytest.approx(1)
    (bad,) = measured(attributes, *(embedded(n, n, noise=1.0, knows=0.0) for n in (160, 320))).rows
    assert bad.score("zero_shot").figures["unseen"] < 0.25 + 4 * (0.25 * 0.75 / 80) ** 0.5
    methods = good.variants("zero_shot_methods")
    assert list(methods) == ["dap", "nearest", "eszsl", "ale"]
    assert all(each.figures["unseen"] == 1 for each in methods.values())
    assert methods["nearest"].figures["harmonic"] == 1
    assert set(methods["eszsl"].figures) >= {"gamma", "lambda", "unseen_of_all", "seen_of_all"}


def test_neither_training_items_nor_the_number_of_test_items_of_unseen_classes_matter(attributes):
    train = embedded(160, 1, noise=1.0)
    other = {"stage": train.mean["stage"].clone()}
    other["stage"][torch.isin(train.labels, torch.tensor(UNSEEN))] = 1e3
    one = measured(attributes, train, embedded(320, 5, noise=1.0))
    assert one.rows == measured(attributes, Embedded(other, other, train.labels), embedded(320, 5, noise=1.0)).rows
    test = embedded(320, 5, noise=1.0)
    twice = torch.cat([torch.arange(320), (test.labels == 13).nonzero()[:, 0]])  # accuracy is averaged over classes
    stages = {stage: x[twice] for stage, x in test.mean.items()}
    more = measured(attributes, train, Embedded(stages, stages, test.labels[twice]))
    for row, same in zip(one.rows, more.rows, strict=True):
        for name, score in row.variants("zero_shot_methods").items():
            of_more = same.variants("zero_shot_methods")[name].figures
            assert of_more["unseen"] == pytest.approx(score.figures["unseen"], abs=1e-12)
            assert of_more["low"] > score.figures["low"]


def test_the_harmonic_mean():
    assert harmonic(0.6, 0.3) == pytest.approx(0.4)
    assert harmonic(0.0, 0.9) == 0


def both(rows):
    rows.append([*rows[0][:1], "unseen", *rows[0][2:]])


def twin(rows):
    rows[3][2:] = rows[5][2:]


CHANGES = {
    "gives the class 'class 2' no 'large'": lambda rows: rows[2].__setitem__(3, ""),
    "gives 'class 2' the 'large' 'yes'": lambda rows: rows[2].__setitem__(3, "yes"),
    "lists the class 'class 0' as seen and as unseen: the split overlaps": both,
    "lists the class 'class 1' twice": lambda rows: rows.append(rows[1]),
    "has no row for the class 'class 4'": lambda rows: rows.pop(4),
    "the data has no class 'zebra'": lambda rows: rows.append(["zebra", "seen", 0, 0, 0, 0]),
    "gives 'class 3' and 'class 5' one vector": twin,
    "'class 1' is 'test'": lambda rows: rows[1].__setitem__(1, "test"),
    "15 seen and 1 unseen classes": lambda rows: [rows[k].__setitem__(1, "seen") for k in UNSEEN[1:]],
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_is_wrong_with_the_file_is_one_line(said, tmp_path):
    with pytest.raises(ValueError, match=r"^zero_shot: [^\n]*$") as told:
        measured(write(tmp_path / "attributes.csv", CHANGES[said]))
    assert said in str(told.value)


def test_files_that_lack_columns_and_classes_without_items_are_refused(attributes, tmp_path):
    with pytest.raises(ValueError, match="no column split"):
        measured(write(tmp_path / "other.csv", header=("class", "kind", "a", "b", "c", "d")))
    with pytest.raises(ValueError, match="there is no file"):
        ZeroShot(tmp_path / "nowhere.csv")
    few = embedded(13, 5)
    with pytest.raises(ValueError, match="unseen class 'class 13' has no test item"):
        measured(attributes, test=few)
    with pytest.raises(ValueError, match="no class vectors"):
        measure(embedded(160, 1), embedded(320, 5), ["zero_shot"], classes=NAMES)


def test_the_command_line_gives_the_file_to_the_protocol(attributes):
    plain, given = with_classes(["knn", "zero_shot"], attributes)
    assert (plain, given.file) == ("knn", attributes)
    with pytest.raises(ValueError, match="--classes FILE"):
        with_classes(["zero_shot"], None)
    with pytest.raises(ValueError, match="goes with --protocols zero_shot"):
        with_classes(["knn"], attributes)


def test_every_method_stands_in_the_result_and_in_its_tables(attributes):
    rows = [StageRow.from_json(row.to_json() | {"features": "trained"}) for row in measured(attributes).rows]
    data = {"class": "Digits", "train": 160, "test": 320, "classes": NAMES}
    by_stage, by_method = tables(ProbeResult(tuple(rows), data=data, protocol={"chance": 1 / 16}))
    headings = [column.title for column in by_stage.columns]
    assert headings == ["Features", "Stage", "Dims", "unseen", "Method", "H"]
    assert by_stage.title.endswith(". Zero shot")
    assert by_method.title == "Zero shot, every method"
    assert [column.title for column in by_method.columns][3:] == ["unseen", "H", "unseen of all", "seen of all"]
    assert len(by_method.rows) == 4
