"""Class paths of release 0.1 still lead to their classes."""

import subprocess
import sys
from importlib import import_module

import pytest
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule

import datamodules
from datamodules import _moved

AT_FIRST = {
    "base": ["DataError", "DataModule"],
    "bouncing": ["Bouncing"],
    "cifar": ["CIFAR10"],
    "clips": ["Clips"],
    "digits": ["Digits"],
    "images": ["ImageFolder", "Photos"],
    "pets": ["Pets"],
    "sounds": ["Sounds"],
    "voc": ["VOC07"],
}
PATHS = [(f"datamodules.{module}", name) for module, names in AT_FIRST.items() for name in names]


@pytest.fixture
def forgotten(monkeypatch):
    """Let old names be imported anew, as in a process that did not yet."""
    for name in _moved.NEW:
        monkeypatch.delitem(sys.modules, f"datamodules.{name}", raising=False)


def test_every_old_path_leads_to_a_public_name():
    public = [name for name in datamodules.__all__ if issubclass(getattr(datamodules, name), LightningDataModule)]
    assert {name for _, name in PATHS} <= {*public, "DataError"}


@pytest.mark.parametrize(("module", "name"), PATHS)
def test_an_old_class_path_is_the_same_class_with_one_line_of_warning_where_it_moved(module, name, forgotten):
    old = module.removeprefix("datamodules.")
    if old in _moved.NEW:
        with pytest.warns(FutureWarning, match=rf"{module} is now datamodules\.{_moved.NEW[old]}; ") as caught:
            found = getattr(import_module(module), name)
        assert len(caught) == 1
    else:
        found = getattr(import_module(module), name)
    assert found is getattr(datamodules, name)


@pytest.mark.parametrize("old", _moved.NEW)
def test_every_old_module_is_found(old, forgotten):
    with pytest.warns(FutureWarning, match="the old name goes"):
        assert import_module(f"datamodules.{old}") is import_module(f"datamodules.{_moved.NEW[old]}")


def test_a_config_may_name_an_old_path(forgotten):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(datamodules.DataModule, "data")
    with pytest.warns(FutureWarning, match="is now"):
        parsed = parser.parse_object({"data": {"class_path": "datamodules.digits.Digits", "init_args": {"size": 8}}})
    assert isinstance(parser.instantiate(parsed).data, datamodules.Digits)


def test_the_package_alone_imports_neither_torch_nor_a_decoder():
    line = "import sys, datamodules; print([m for m in ('torch', 'av', 'PIL', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout == "[]\n"
