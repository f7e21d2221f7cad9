"""Planted shortcuts are found by the control that names them and by no other, and clean tasks are not accused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from clips import TinySound
from nets import TinyNet
from shortcuts import (
    Backward,
    Blurred,
    Duel,
    LeaksThroughWhatIsGiven,
    Mirrored,
    Negative,
    Shifted,
    WhichHalf,
    compressed,
    dark,
    framed,
    fringed,
    halves,
    textures,
    tones,
    wedges,
)

from pretext import Contrast, Jigsaw
from pretext.audit.controls import CONTROLS
from pretext.audit.marks import REMOVED, Marks
from pretext.audit.networks import Small
from pretext.audit.plan import controls_of
from pretext.audit.results import ANSWERS, KEEPS, NO, UNCLEAR, Finding, Score
from pretext.audit.run import NOTHING_TO_LOSE, WHOLE, _compared, examine
from pretext.audit.sitting import Exam, Items, _batches, sit
from pretext.core.rng import rng
from pretext.ops.tile_cut import TileCut
from pretext.report.audit import rows_of
from pretext.training.inputs import InputPipeline


def exam(build, data, backbone=TinyNet, steps=60, held=256, train=512):
    pattern = backbone()
    items = Items(data(train, key=1), data(held, key=2), InputPipeline(pattern))
    return Exam("toy", build, pattern, items, steps, 0, torch.device("cpu"))


def accused(found):
    return {one.name for one in found.findings if one.accused}


EVERY = {"nothing", "noise", "constant", "moments", "spectrum", "aberration"}
PLANTED = [
    (Mirrored, framed, TinyNet, {"borders"}, 30),
    (Negative, dark, TinyNet, {"moments"}, 30),
    (Backward, tones, partial(Small, "t", list("abc"), 1), {"energy"}, 40),
    (LeaksThroughWhatIsGiven, textures, TinyNet, EVERY, 10),
]


@pytest.mark.parametrize(("task", "data", "backbone", "names", "steps"), PLANTED)
def test_a_planted_shortcut_answers_and_nothing_else_does(task, data, backbone, names, steps, tmp_path):
    found = examine(exam(task, data, backbone, steps, train=64), tmp_path, "planted")
    assert found.intact.value > 0.95, found.intact
    assert accused(found) == names
    for one in found.findings:
        if one.name in names:
            assert one.verdict == ANSWERS, one
            assert one.share.low > (0.7 if one.beside else 0.9), one  # of a difference the interval is wider
    assert found.worst.title in found.verdict
    assert "answers most of it" in found.verdict


def test_content_that_goes_on_to_the_border_is_no_trace_of_the_border():
    """The border tells it, and as much content from further in as well."""
    mine = exam(Mirrored, halves, steps=100, held=1024, train=2048)
    borders = next(one for one in CONTROLS if one.name == "borders")

    def of(plain):
        return Marks(**plain).score("accuracy", rows=9)

    whole, alone, within = (sit(mine, control) for control in (WHOLE, borders, borders.beside))
    blank = Finding("borders", "d", "borders alone", score=of(alone["score"]))
    found = _compared(blank, within, of, of(whole["score"]), chance=0.5)
    assert of(whole["score"]).low > 0.5
    assert found.score.low > 0.5
    assert found.verdict in (NO, UNCLEAR), found


def test_one_colour_does_not_tell_which_view_is_of_the_same_image():
    """A colour of its own for each image would (.83 where the whole task reached .64), and is content."""
    mine = exam(partial(Contrast, width=16, outputs=16), textures, steps=25, held=64, train=64)
    constant = next(one for one in CONTROLS if one.name == "constant")
    own = Marks(**sit(mine, replace(constant, alike=None))["score"]).score("ranking", 1)
    alike = Marks(**sit(mine, constant)["score"]).score("ranking", 1)
    assert own.low > 0.6
    assert alike.low <= 0.5
    assert alike.high < 0.6


def test_what_an_adversary_learns_is_no_loss_removed():
    """The loss falls from 1.69 to 1.1 and less, since what is added to the task's own error can be learnt."""
    whole = sit(exam(Duel, textures, steps=15, held=32, train=32), WHOLE)["score"]
    assert Marks(**whole).score(REMOVED, 1).value == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "data", "stages", "names"),
    [(WhichHalf, fringed, "ab", {"aberration"}), (Shifted, compressed, "abcd", {"blocks", "blocks shifted"})],
)
def test_traces_of_lenses_and_of_compression_are_found(task, data, stages, names, tmp_path):
    """The second takes a network that halves the sides until a pixel of it is a block."""
    found = examine(exam(task, data, partial(Small, "hw", list(stages), 3), steps=200), tmp_path, "traces")
    assert found.intact.value > 0.9, found.intact
    verdicts = {one.name: one.verdict for one in found.findings}
    assert {name: verdicts[name] for name in names} == dict.fromkeys(names, ANSWERS)
    assert not {"nothing", "noise", "constant", "moments"} & accused(found)  # a border may show a trace too


@pytest.mark.slow
def test_traces_of_resizing_are_found(tmp_path):
    found = examine(exam(Blurred, textures, steps=30), tmp_path, "blurred")
    assert "spectrum" in accused(found)


def test_an_honest_task_is_not_accused(tmp_path):
    found = examine(exam(Mirrored, wedges, steps=40), tmp_path, "honest")
    assert found.intact.value > 0.9, found.intact
    assert not accused(found), [one for one in found.findings if one.accused]
    shares = {one.name: one.share.value for one in found.findings if one.share}
    # Each is a mean over 256 items of a fair coin, over 0.5 less what the intact task lacks: four standard errors.
    bound = 4 * 0.5 / 256**0.5 / (found.intact.value - 0.5)
    assert {"noise", "constant", "borders", "moments", "nothing"} <= shares.keys()
    assert max(map(abs, shares.values())) < bound, shares
    assert found.verdict.startswith("unclear: up to")  # of 256 items no share is known to a tenth


def test_what_is_not_learnt_says_nothing(tmp_path):
    found = examine(exam(Mirrored, textures, steps=3), tmp_path, "noise")
    assert not found.learnt
    assert all(one.share is None for one in found.findings)
    assert "not learnt in this budget" in found.verdict
    blank = [row.cells[2] for row in rows_of(found) if row.cells[0] == "" and row.cells[1] != "a" and not row.cells[5]]
    assert not blank  # each row has a verdict, or says why not
    assert {one.note for one in found.findings if one.against} == {NOTHING_TO_LOSE}
    assert found.items == 256


@pytest.mark.parametrize("count", [8, 9, 12, 31, 64, 100, 999, 1000, 1001])
@pytest.mark.parametrize("size", [8, 128])
def test_every_held_out_item_is_scored_in_batches_that_are_alike(count, size):
    batches = [batch.tolist() for batch in _batches(count, size)]
    assert [item for batch in batches for item in batch] == list(range(count))
    lengths = {len(batch) for batch in batches}
    assert max(lengths) - min(lengths) <= 1
    assert 2 <= min(lengths) <= max(lengths) <= size
    assert len(batches) >= 4


def scenes(n, side=48, key=0):
    """Photos whose quarters have stripes of their own, and which grow brighter to the right and downward.

    How bright they are altogether differs, so that stripes tell a tile's quarter, and only other tiles its neighbours.
    """
    line = torch.arange(side)
    down, across = torch.meshgrid(line, line, indexing="ij")
    kinds = torch.stack((down, across, down + across, down - across))
    quarter = 2 * (down >= side // 2) + (across >= side // 2)
    stripes = (kinds.gather(0, quarter[None])[0] // 2 % 2) * 255.0
    offset = 150 * torch.rand(n, 2, 1, 1, generator=rng("cpu", "scenes", key))
    ramps = torch.stack((down, across)) * (105 / side) + offset
    return torch.cat((stripes.expand(n, 1, -1, -1), ramps), 1).to(torch.uint8)


@pytest.mark.slow
def test_a_still_grid_is_accused_by_the_destroyed_control_and_a_moving_one_less(tmp_path):
    shares = {}
    for extent in (None, (0.5, 0.75)):
        cut = TileCut(extent=extent, standardise=False, grey=0.0, channel_jitter=0.0)
        task = partial(Jigsaw, grid=2, permutations=8, cut=cut, width=32, hidden=64)
        found = examine(exam(task, scenes, steps=200), tmp_path / str(extent), "jigsaw")
        assert found.intact.value > 0.6, found.intact  # chance is 1 / 8
        shares[extent] = next(one for one in found.findings if one.name == "destroyed")
    assert shares[None].verdict == ANSWERS
    assert "cut.extent" in shares[None].advice
    assert shares[0.5, 0.75].share.value < shares[None].share.value  # 98 and 100 %: the intervals of 256 items overlap


def test_borders_without_anything_to_compare_with_are_not_judged():
    score = {"values": [0.9] * 8, "weights": [32] * 8}
    found = Finding("borders", "d", "borders alone", score=Marks(**score).score("accuracy", 1))
    of = partial(Marks.score, metric="accuracy", rows=1)
    intact = Score(0.95, 0.9, 1.0)
    left = _compared(found, {"failed": "the loss is nan"}, lambda plain: of(Marks(**plain)), intact, 0.5)
    assert (left.score, left.share, left.verdict) == (found.score, None, "")
    assert left.note == "nothing to compare with: the loss is nan"
    unlearnt = Score(0.52, 0.47, 0.57)
    same = _compared(found, {"score": score, "seconds": 1.0}, lambda plain: of(Marks(**plain)), unlearnt, 0.5)
    assert same.verdict == KEEPS


def test_finished_cells_are_not_repeated(tmp_path, capsys):
    mine = exam(Negative, dark, steps=2, held=64, train=64)
    first = examine(mine, tmp_path, "again")
    assert "means and deviations" in capsys.readouterr().err
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.json")}
    (tmp_path / "cells" / next(name for name in times if "borders" in name)).unlink()
    again = examine(mine, tmp_path, "again")
    assert again.intact == first.intact
    assert [one.score for one in again.findings] == [one.score for one in first.findings]
    assert capsys.readouterr().err.splitlines() == ["audit toy: borders alone"]
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.json")}.keys() == times.keys()


def test_a_head_that_costs_more_than_its_network_gets_fewer_items():
    class Heavy(Negative):
        def solve(self, features, given):
            wide = features.pooled[:, :1].expand(-1, 10_000)
            return super().solve(features, given) + 0 * (wide @ torch.ones(10_000, 4_000)).sum()

    light, heavy = (exam(build, dark) for build in (Negative, Heavy))
    puzzle = light.sample()[2]
    assert heavy.cost(puzzle, 8) - light.cost(puzzle, 8) == 2 * 10_000 * 4_000
    assert light.batch(puzzle, 8) == 128
    assert heavy.batch(puzzle, 8) == 31  # of 80 million each, 2.5 billion in all


def test_a_task_that_cannot_be_graded_is_told_of(tmp_path, capsys):
    class Broken(Negative):
        def grade(self, prediction, answer):
            raise ValueError("no such answer")

    found = examine(exam(Broken, dark, steps=2), tmp_path, "broken")
    assert "no such answer" in found.note
    assert "audit toy: the task as it is failed" in capsys.readouterr().err.replace("\n", " ")


def test_sounds_are_not_asked_about_pictures(tmp_path):
    found = examine(exam(Backward, tones, TinySound, steps=1, held=64, train=64), tmp_path, "sound")
    notes = {one.name: one.note for one in found.findings if one.score is None}
    assert notes == {
        "destroyed": "the task has no control of its own",
        "aberration": "no pictures of such channels",
        "blocks": "nothing of the kind is shown",
        "spectrum": "nothing of the kind is shown",
        "blocks shifted": "no pictures of such channels",
        "kernels swapped": "no pictures of such channels",
    }


def test_parts_of_too_few_other_items_are_no_control():
    """Of a batch of two, all tiles of one would be the other's, and belong together."""
    task = partial(Jigsaw, grid=2, permutations=6, width=8, hidden=16)
    for held, refused in ((8, True), (19, True), (20, False), (300, False)):
        mine = exam(task, partial(textures, side=24), held=held, train=32)
        (refusal,) = (why for control, why in controls_of(mine) if control.name == "destroyed")
        assert bool(refusal) == refused
        assert not refused or refusal.endswith(f"batches have {held // 4} items; hold out 20 or more")


def test_a_control_that_fails_is_told_and_the_others_go_on(tmp_path, capsys):
    class HalfBlind(Negative):
        def solve(self, features, given):
            if features.stages["conv1"].shape[-1] == 1:
                raise ValueError("HalfBlind wants maps")
            return super().solve(features, given)

    found = examine(exam(HalfBlind, dark, steps=2, held=64, train=64), tmp_path, "half blind")
    notes = {one.name: one.note for one in found.findings}
    assert notes["moments"] == "ValueError: HalfBlind wants maps"
    assert notes["borders"] == ""
    assert "HalfBlind wants maps" in capsys.readouterr().err
