"""Groups of options: from Python, from files and from the command line, and what a module refuses."""

from dataclasses import fields, is_dataclass
from inspect import signature

import pytest
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule

import datamodules
from datamodules import DataError, Digits, Disk, ImageFolder, Lists, Photos, Reading, Sampling, Splitting, Windows

MODULES = [
    getattr(datamodules, name)
    for name in datamodules.__all__
    if issubclass(getattr(datamodules, name), LightningDataModule) and name != "DataModule"
]
SPLIT = [m for m in MODULES if "split" in signature(m).parameters]  # Episodes and Sinusoids take tasks apart, not items


def build(options, config=None):
    """Build a data module as the command line does."""
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data", fail_untyped=False, required=False)
    known = None if config is None else parser.parse_object({"data": config})
    return parser.instantiate(parser.parse_args(options, namespace=known)).data


def groups(module):
    return {name: p.default for name, p in signature(module).parameters.items() if is_dataclass(p.default)}


def test_a_module_takes_few_arguments():
    assert max(len(signature(module).parameters) for module in MODULES) <= 12


@pytest.mark.parametrize("module", SPLIT)
def test_a_module_takes_no_name_twice(module):
    flat = set(signature(module).parameters)
    inside = [field.name for default in groups(module).values() for field in fields(default)]
    assert len({*flat, *inside}) == len(flat) + len(inside)  # so that an option's bare name says which group it is of


@pytest.mark.parametrize("module", SPLIT)
def test_a_group_of_one_name_is_of_one_type_in_every_module(module):
    """Else a config could not be brought to another module with the values that both have."""
    kinds = {
        "reading": Reading,
        "split": Splitting,
        "lists": Lists,
        "windows": Windows,
        "disk": Disk,
        "sampling": Sampling,
    }
    own = {"challenge": datamodules.Challenge, "videos": datamodules.Videos}
    assert {name: type(default) for name, default in groups(module).items()}.items() <= (kinds | own).items()


def test_what_a_group_does_not_say_stays_at_the_modules_default(tmp_path):
    config = {"class_path": "datamodules.Photos", "init_args": {"root": str(tmp_path), "reading": {"workers": 4}}}
    data = build(["--data.split.val", "0.3"], config)
    assert data.reading == Reading(4, 0.01)
    assert (data.val, data.test, data.limit) == (0.3, 0.1, None)
    data = build(["--data", "datamodules.ImageFolder", "--data.root", str(tmp_path), "--data.reading.max_bad", "0.5"])
    assert data.reading == Reading(None, 0.5)
    assert (data.val, data.test) == (0.1, 0.2)


def test_from_python_a_share_for_the_test_that_is_not_given_is_the_modules_own(tmp_path):
    assert ImageFolder(tmp_path, split=Splitting(limit=3)).test == 0.2
    assert Photos(tmp_path, split=Splitting(limit=3)).test == 0.1


@pytest.mark.parametrize(("before", "carried"), [("Photos", 0.1), ("ImageFolder", 0.2), ("Digits", 0.1)])
def test_brought_to_photos_a_config_keeps_the_share_that_it_had(before, carried, tmp_path):
    root = {} if before == "Digits" else {"root": str(tmp_path)}
    config = {"class_path": f"datamodules.{before}", "init_args": {**root, "split": {"limit": 7}}}
    data = build(["--data", "datamodules.Photos", "--data.root", str(tmp_path)], config)
    assert (data.test, data.limit) == (carried, 7)


VIDEOS = {
    "windows": {"frames": 4},
    "disk": {"cache": "c"},
    "lists": {"train_list": "a.txt"},
    "sampling": {"rate": 8000, "clips": 1},
}


OTHERS = [module for module in SPLIT if module.__name__ not in ("Clips", "Bouncing", "Pairs")]  # Pairs wants two


@pytest.mark.parametrize("module", OTHERS)
def test_a_config_of_videos_is_brought_to_any_other_module_and_what_that_lacks_is_dropped(module, tmp_path):
    common = {"root": str(tmp_path), "batch_size": 3, "split": {"val": 0.3}, "reading": {"workers": 2}}
    config = {"class_path": "datamodules.Clips", "init_args": {**common, **VIDEOS}}
    needed = ["--data.generator", "pretext.Shapes"] if module.__name__ == "Generated" else []
    data = build(["--data", f"datamodules.{module.__name__}", *needed], config)
    assert type(data) is module
    assert (data.val, data.batch_size) == (0.3, 3)
    if "reading" in groups(module):
        assert data.reading == Reading(2)
    if module.__name__ == "Sounds":
        assert (data.how.rate, data.how.clips) == (8000, 1)


@pytest.mark.parametrize("module", SPLIT)
def test_a_module_without_folds_refuses_one(module, tmp_path):
    arguments = [] if module is Digits else [tmp_path]
    if module.__name__ in ("Clips", "Sounds"):
        assert str(module(*arguments, split=Splitting(fold=2)).fold) == "2"
        return
    with pytest.raises(DataError, match=rf"{module.__name__} got fold=2, but wants 1, since it has no folds"):
        module(*arguments, split=Splitting(fold=2))


@pytest.mark.parametrize("module", [module for module in MODULES if "reading" in groups(module)])
@pytest.mark.parametrize(
    "wrong", [{"workers": -1}, {"max_bad": 1.1}, {"max_bad": -0.1}, {"time_limit": 0}, {"memory_limit": -1}]
)
def test_reading_out_of_range_is_refused_by_name(module, wrong, tmp_path):
    ((name, value),) = wrong.items()
    with pytest.raises(DataError, match=rf"(Clips|{module.__name__}) got {name}={value}, but wants"):
        module(tmp_path, reading=Reading(**wrong))


def test_an_option_that_a_group_does_not_have_is_refused(tmp_path):
    with pytest.raises(Exception, match="does not accept option 'worker'"):
        build([], {"class_path": "datamodules.Digits", "init_args": {"split": {"worker": 4}}})
