"""Every task of this project can be audited: no control fails on any, and its own control is what it says."""

import pytest
import torch
from every_task import cases

from pretext.audit import sitting
from pretext.audit.controls import CONTROLS
from pretext.audit.networks import in_shape_of, measured, small
from pretext.audit.pictures import drawings
from pretext.audit.run import WHOLE, examine
from pretext.audit.sitting import Exam, Items
from pretext.core.tree import mapped
from pretext.training.inputs import InputPipeline

CASES = cases()
OWN = {"jigsaw", "position", "counting", "arrow of time", "clip order", "odd one out", "shuffle and learn", "future"}
OWN |= {"alignment", "contrastive alignment", "embed", "hardest info-nce", "distillation", "taught teacher"}
OWN |= {"momentum teacher", "across modalities", "picture and text"}


def loaded(x):
    """Turn pictures in [0, 1] and sounds in [-1, 1] into what data modules load, five times as many."""
    scaled = (x * 255).to(torch.uint8) if x.ndim > 3 else (x * 32767).to(torch.int16)
    return scaled.repeat(5, *(1 for _ in x.shape[1:]))


def test_a_text_is_read_by_a_network_of_its_own_or_by_numbers():
    case = CASES["picture and text"]
    pattern = case.backbone()
    known = pattern(case.x)["text"]
    describe = next(one.describe for one in CONTROLS if one.name == "moments")
    for make in (small, measured(describe)):
        seen = in_shape_of(pattern, case.x, make).eval()(case.x)["text"]
        assert seen.stages.keys() == known.stages.keys()
        assert {stage.ndim for stage in seen.stages.values()} == {2}
    x = mapped(loaded, case.x)
    exam = Exam("clip", case.factory, pattern, Items(x, x, InputPipeline(pattern)), 2, 0, torch.device("cpu"))
    for control in (WHOLE, *(one for one in CONTROLS if one.name in ("noise", "destroyed", "moments"))):
        assert len(sitting.sit(exam, control)["score"]["values"]) == 4
    assert len(drawings(exam)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_control_fails(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sitting, "PUZZLES", 8)
    case = CASES[name]
    pattern, x = case.backbone(), mapped(loaded, case.x)
    exam = Exam(
        name.replace(" ", "_"), case.factory, pattern, Items(x, x, InputPipeline(pattern)), 2, 0, torch.device("cpu")
    )
    found = examine(exam, tmp_path, name)
    assert found.intact is not None, found.note
    failed = {one.name: one.note for one in found.findings if "Error" in one.note}
    assert not failed
    assert any(one.name == "destroyed" and one.score for one in found.findings) == (name in OWN)
    rows = drawings(exam)
    assert len(rows) == 1 + sum(one.score is not None for one in found.findings)
    assert all(panels for panels in rows.values())
