"""Wrong uses from Python: each is told in one line that names the class, what it got, what it wanted, what to do."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: no script there hides a library

from fault_parts.setting import Setting
from fault_parts.uses import WRONG, ask
from schedule import Clock


def required(words):
    raise ValueError(words)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_use_is_told_in_one_line(name, tmp_path):
    assert ask(Setting(tmp_path, True, 0), *WRONG[name], Clock(0), {})["answer"]


def test_what_is_no_wrong_use_is_found_out(tmp_path):
    for use, words, said in (
        (lambda: None, "", "it ends with nothing"),
        (lambda: required("two\nlines"), "", "not one line"),
        (lambda: int("x"), "give a number", "no 'give a number' in it"),
    ):
        with pytest.raises(AssertionError, match=said):
            ask(Setting(tmp_path, True, 0), use, words, Clock(0), {})
