"""What has moved is still found under its old name, and one line says what to write."""

import sys
from importlib import import_module

import pytest

from pretext._moved import NEW


@pytest.mark.parametrize("old", NEW)
def test_an_old_name_is_the_very_module_that_has_the_new_one(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"pretext.{old}", raising=False)  # imported before under its old name
    new = import_module(f"pretext.{NEW[old]}")
    with pytest.warns(FutureWarning, match=f"pretext.{old} is now pretext.{NEW[old]}; the old name goes"):
        assert import_module(f"pretext.{old}") is new
    assert new.__name__ == new.__spec__.name == f"pretext.{NEW[old]}"


@pytest.mark.filterwarnings("ignore:.* is now pretext.:FutureWarning")
def test_classes_are_the_same_under_both_names():
    from pretext.augment import Augment as Old
    from pretext.callbacks.online import Online as OldCallback

    import pretext

    assert Old is pretext.Augment
    assert OldCallback is pretext.callbacks.Online


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        import_module("pretext.nothing")
