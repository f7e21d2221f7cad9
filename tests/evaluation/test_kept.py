"""Results of probes take nobody's place, and a verdict says what the numbers allow."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pretext.evaluation.kept import comparable, keep, kept, overtaken, step_of, touched
from pretext.evaluation.results import ProbeResult, Score, StageRow
from pretext.evaluation.verdict import outcome, verdict
from pretext.report.verdicts import of_probe

DATA = {"class": "Digits", "train": 10, "test": 5, "classes": ["a", "b"]}
PROTOCOL = {"linear": "as it is", "chance": 0.5}


def row(features, stage, name="linear", accuracy=0.5, reach=0.05, validation=0.5, chosen=False):
    figures = {"accuracy": accuracy, "low": accuracy - reach, "high": accuracy + reach, "validation": validation}
    return StageRow(stage, {name: Score(figures)}, chosen=chosen, features=features)


def result(*rows, **facts):
    return ProbeResult(
        rows, **{"data": DATA, "protocol": PROTOCOL, "fingerprints": {"train": "1", "test": "2"}} | facts
    )


def test_every_set_of_data_protocols_and_modality_has_a_file(tmp_path):
    ours = result(row("trained", "stem"))
    others = [
        replace(ours, data={**DATA, "train": 11}),
        replace(ours, fingerprints={"train": "3", "test": "2"}),
        replace(ours, protocol={"knn": "near", "chance": 0.5}),
        replace(ours, data={**DATA, "modality": "grey/../x"}),
    ]
    assert keep(ours, tmp_path) == tmp_path / "probe.json"
    files = [keep(other, tmp_path) for other in others]
    assert len(set(files)) == 4
    assert all(file.parent == tmp_path and file.name.startswith("probe-Digits") for file in files)
    assert kept(tmp_path) == {tmp_path / "probe.json": ours, **dict(sorted(zip(files, others, strict=True)))}
    again = replace(others[1], seconds=3.0)
    assert keep(again, tmp_path) == files[1]
    assert kept(tmp_path)[files[1]] == again


def test_a_result_of_an_early_release_gives_way_to_the_same_probe(tmp_path):
    early = result(row("trained", "stem"), fingerprints=None)
    keep(early, tmp_path)
    assert keep(result(row("trained", "stem")), tmp_path) == tmp_path / "probe.json"
    assert len(kept(tmp_path)) == 1


def test_results_are_comparable_where_nothing_that_both_say_differs():
    ours, names = result(row("trained", "stem")), {"train": "a", "test": "b"}
    copied = replace(ours, listed=names, fingerprints={"train": "3", "test": "4"})
    assert comparable(ours, replace(ours, seconds=3.0, step=5))
    assert comparable(ours, replace(ours, fingerprints=None))
    assert comparable(ours, replace(ours, listed=names))  # of an earlier release, which knows dates alone
    assert not comparable(ours, copied)
    assert comparable(replace(ours, listed=names), copied)
    assert touched(replace(ours, listed=names), copied)
    assert not touched(ours, copied)
    assert not comparable(copied, replace(copied, listed={"train": "c", "test": "b"}))
    assert not comparable(ours, replace(ours, protocol={"knn": "near"}))


def checkpoint(run, network, step):
    (run / "checkpoints").mkdir(exist_ok=True)
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    torch.save({"global_step": step, "state_dict": state}, run / "checkpoints" / "last.ckpt")


def test_the_step_is_that_of_the_checkpoint_that_holds_the_network(tmp_path):
    network, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert step_of(network, tmp_path) is None
    checkpoint(tmp_path, network, 3)
    assert (step_of(network, tmp_path), step_of(other, tmp_path)) == (3, None)
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"cut off")
    assert step_of(network, tmp_path) is None


def test_a_result_of_another_step_says_what_measures_the_run_as_it_is(tmp_path):
    early = result(row("trained", "stem"), step=3)
    assert overtaken(early, tmp_path) == ""  # there is no checkpoint
    checkpoint(tmp_path, nn.Linear(2, 2), 15_000)
    told = f"probed at step 3; the run is at step 15,000; again: pretext probe {tmp_path}"
    assert overtaken(early, tmp_path) == told
    command = "pretext probe runs/a --data datamodules.Digits"
    assert overtaken(replace(early, command=command), tmp_path).endswith(f"again: {command}")
    assert overtaken(replace(early, step=15_000), tmp_path) == overtaken(replace(early, step=None), tmp_path) == ""


def test_a_broken_result_is_named(tmp_path):
    (tmp_path / "probe-Digits-1.json").write_text("{")
    with pytest.raises(ValueError, match=r"probe-Digits-1\.json is not complete"):
        kept(tmp_path)


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (0.7, 0.5, "beats"),
        (0.5, 0.7, "does not beat"),
        (0.55, 0.5, "cannot be told from"),
        (0.5, 0.5, "cannot be told from"),
    ],
)
def test_intervals_decide(own, other, said):
    one, two = (row("", "", accuracy=value).score("linear").value("accuracy") for value in (own, other))
    assert outcome(one, two) == said
    turned = {"beats": "does not beat", "does not beat": "beats"}
    assert outcome(one, two, smaller=True) == turned.get(said, said)
    unknown = one._replace(low=float("nan"), high=float("nan"))
    assert outcome(unknown, two) == "cannot be told from"


def test_each_network_is_judged_at_the_stage_that_its_own_validation_chose():
    """The best on the test items is not asked for: that would be chosen on them."""
    found = result(
        row("trained", "stem", accuracy=0.9, validation=0.4, chosen=True),
        row("trained", "top", accuracy=0.8, validation=0.6),
        row("random", "stem", accuracy=0.6, validation=0.9),
        row("random", "top", accuracy=0.95, validation=0.1, chosen=True),
        row("raw", "pixels", accuracy=0.82, validation=0.5),
    )
    random, raw = verdict(found)
    assert (random.trained.stage, random.other.stage, random.outcome) == ("top", "stem", "beats")
    assert random.difference == pytest.approx(0.2)
    assert raw.outcome == "cannot be told from"
    (told,) = (line.replace("\u00a0", " ") for line in of_probe(found))
    assert told == (
        "On Digits: beats random initialisation on the linear probe by 20.0 points: "
        "80.0 % (75.0 to 85.0) at top against 60.0 % (55.0 to 65.0) at stem. "
        "Cannot be told from the raw input, 82.0 % (77.0 to 87.0)."
    )


def test_without_a_trained_network_there_is_nothing_to_compare():
    assert of_probe(result(row("random", "stem"))) == ["On Digits: nothing to compare; measured was random."]
