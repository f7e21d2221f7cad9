"""Other data than a run was trained on starts from its own defaults; what a network is shown stays the network's."""

from pathlib import Path

import pytest

from datamodules import Digits, ImageFolder
from datamodules.options import Splitting
from pretext.training.other_data import fits, hint_of_config, options_of, packaged, with_own_data
from pretext.training.parser import Parser

LRWAR = {
    "class_path": "datamodules.Clips",
    "init_args": {
        "root": "lrwar",
        "layout": "lists",
        "modalities": ["rgb", "audio"],
        "canvas": 64,
        "windows": {"frames": 8, "fps": 12.5},
        "sampling": {"rate": 8000, "clips": 5},
        "batch_size": 7,
        "lists": {"train_list": "labels.csv", "columns": {"file": "file"}},
        "split": {"limit": 60},
        "seed": 3,
    },
}
SHOWN = {
    "modalities": ["rgb", "audio"],
    "canvas": 64,
    "windows": {"frames": 8, "fps": 12.5},
    "sampling": {"rate": 8000},
}


@pytest.mark.parametrize(
    "options",
    [["--data", "datamodules.Clips"], ["--data=datamodules.Clips"], ["--data.class_path", "datamodules.Clips"]],
)
def test_named_data_keeps_what_belongs_to_the_network_alone(options):
    config = with_own_data({"model": 1, "data": LRWAR}, options)
    assert config == {"model": 1, "data": {"class_path": "datamodules.Clips", "init_args": SHOWN}}


def test_a_file_of_data_brings_its_own_options(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    options = ["--data", "configs/data/arid6.yaml", "--data.root", "elsewhere", "--data.split.limit=5"]
    args = with_own_data({"data": LRWAR}, options)["data"]["init_args"]
    own = {"train_list": "train.txt", "test_list": "validate.txt", "columns": {"label": 1, "file": 2}}
    assert args == {**SHOWN, "root": "elsewhere", "layout": "lists", "lists": own, "split": {"limit": 5}}


def test_data_of_another_kind_takes_what_both_know():
    config = with_own_data({"data": LRWAR}, ["--data", "datamodules.ImageFolder", "--data.root", "x"])
    assert config["data"] == {"class_path": "datamodules.ImageFolder", "init_args": {"canvas": 64, "root": "x"}}
    config = with_own_data({"data": LRWAR}, ["--data", "datamodules.CIFAR10"])
    assert config["data"]["init_args"] == {}


def test_options_alone_change_the_runs_own_data():
    config = {"data": LRWAR}
    assert with_own_data(config, ["--data.root", "elsewhere"]) == config


def test_a_runs_config_is_read_so_by_the_parser_of_the_other_verbs():
    parser = Parser(silent="config.yaml", other=["--data", "datamodules.Digits"], exit_on_error=False)
    parser.add_argument("--data", type=dict)
    text = "data: {class_path: datamodules.Digits, init_args: {size: 8, split: {limit: 60}}}"
    told = parser.parse_string(text, "config.yaml")
    assert told.data == {"class_path": "datamodules.Digits", "init_args": {"size": 8}}


def test_options_that_are_not_defaults_are_named():
    assert options_of(Digits()) == {}
    assert options_of(Digits(16, split=Splitting(limit=60), seed=4)) == {"size": 16, "split.limit": 60}
    assert options_of(ImageFolder(Path("pets"), batch_size=64, split=Splitting(0.2, 0.2))) == {
        "root": "pets",
        "split.val": 0.2,
    }
    assert options_of(object()) == {}


def test_a_packaged_config_is_hinted_at_where_it_describes_the_folder(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("0 0 a.mp4")
    options = ["--data", "datamodules.Clips", "--data.root", str(tmp_path)]
    hint_of_config(options)
    assert capsys.readouterr().err == ""
    (tmp_path / "validate.txt").write_text("0 0 b.mp4")
    hint_of_config(options)
    assert "arid6.yaml describes such a folder: --data" in capsys.readouterr().err
    (esc10,) = (file for file in packaged() if file.stem == "esc10")
    assert fits(esc10, "datamodules.Sounds", tmp_path / "esc10")
    assert not fits(esc10, "datamodules.Sounds", tmp_path)
    assert not fits(esc10, "datamodules.Clips", tmp_path / "esc10")
