"""The faces of an audit: every number in the table, the verdict and what to change on the page."""

import pytest
from html_page import Page, loads_nothing, only_its_own_script_may_run
from PIL import Image

from pretext.audit.results import ANSWERS, NO, Finding, Score, Share, TaskAudit
from pretext.report.audit import markdown, table
from pretext.report.audit_page import write_audit

BAD = "<b>*tu|rn*</b>"


@pytest.fixture
def found():
    score, share = Score(0.7, 0.6, 0.8), Share(0.9, 0.7, 1.1)
    findings = (
        Finding("borders", "d", "borders alone", score, share, ANSWERS, f"crop {BAD}", kept=0.234),
        Finding("noise", "b", "noise", Score(0.25, 0.2, 0.3), Share(0.0, -0.1, 0.1), NO, "never said"),
        Finding("fade", "h", "fades", note="nothing of the kind is shown"),
    )
    return [TaskAudit(BAD, "Rotation", "accuracy", 0.25, Score(0.75, 0.7, 0.8), findings, 100, 900)]


def test_the_table_has_the_blind_guess_the_intact_task_and_every_control(found):
    cells = [[cell.value for _, cell in table(found).cells(row)] for row in table(found).rows]
    assert [row[2] for row in cells] == [
        "blind guess (accuracy)",
        "the task as it is",
        "borders alone (23% of what is shown)",
        "noise",
        "fades",
    ]
    assert [row[3] for row in cells] == [0.25, 0.75, 0.7, 0.25, None]
    assert [row[4] for row in cells] == [None, None, 0.9, 0.0, None]
    assert [row[5] for row in cells] == ["", "", "answers it", "no", "nothing of the kind is shown"]
    assert "| borders alone (23% of what is shown) | 70.0 (60.0-80.0) | 90 (70-110) | answers it |" in markdown(found)
    assert "borders alone: answers most of it, 90% (70% to 110%) of the intact score" in markdown(found)


def test_the_page_says_what_to_change_and_shows_the_pictures(found, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    pictures = {BAD: tmp_path / "x.png"}
    html = write_audit(found, tmp_path / "audit.html", BAD, pictures, "pretext audit", {"torch": "2"}).read_text()
    page = Page(html)
    assert loads_nothing(html)
    assert only_its_own_script_may_run(html)
    assert "1 of 1 tasks accused" in page.text
    assert f"borders alone: crop {BAD}" in page.text
    assert "never said" not in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1
    assert write_audit(found, tmp_path / "audit.html", BAD, {BAD: tmp_path / "none.png"}, "", {}).is_file()
