"""What a probe compares: a run's network with the same one before any training, or another project's weights."""

import json

import pytest
import torch
import yaml
from nets import TinyNet

from pretext.__main__ import main
from pretext.training.networks import from_run, untrained

DIGITS = {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 64}}
TRAINER = {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1}


def fitted(folder, name, model, *options):
    """Train a config for three steps by the command line; return the run."""
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump({"model": model, "data": DIGITS, "trainer": TRAINER}))
    run = folder / name
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(run), *options]) == 0
    return run


def turned(folder, **backbone):
    net = {"class_path": "nets.TinyNet", "init_args": backbone}
    return fitted(folder, "turn", {"backbone": net, "tasks": {"turn": {"class_path": "pretext.Rotation"}}})


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_random_network_is_that_of_the_runs_seed_before_training(tmp_path):
    run = turned(tmp_path)
    networks, sight, folder = from_run(run)
    torch.manual_seed(0)
    assert same(networks["random"], TinyNet())
    assert not same(networks["random"], networks["trained"])
    assert folder == run
    assert sight.view_key == "centre 8 px of canvases of 8 px, as in training"


def test_a_fine_tuned_run_is_compared_with_a_random_network_not_with_what_it_began_from(tmp_path):
    before = turned(tmp_path)
    model = {"class_path": "pretext.FineTune", "init_args": {"run": str(before)}}
    tuned = fitted(tmp_path, "tuned", model)
    again = fitted(tmp_path, "again", {"class_path": "pretext.FineTune", "init_args": {"run": str(tuned)}})
    torch.manual_seed(0)
    random = TinyNet()
    for run in (tuned, again):
        networks, _, _ = from_run(run)
        assert same(networks["random"], random)
        assert not same(networks["trained"], random)
        assert not same(networks["trained"], from_run(before)[0]["trained"])


def test_files_of_weights_are_left_out_of_the_random_network():
    net = {"class_path": "pretext.TorchVision", "init_args": {"name": "resnet18", "weights": "file.pth"}}
    nested = {"class_path": "pretext.Sound", "init_args": {"net": net}}
    for backbone in (net, nested):
        model, modality = untrained({"model": {"backbone": backbone, "tasks": {}}})
        assert "weights" not in str(model)
        assert modality is None
    assert net["init_args"]["weights"] == "file.pth"  # the config itself is left as it was


def test_another_projects_weights_are_probed_by_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    theirs = TinyNet()
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, "weights.pth")
    data = ["--data", "datamodules.Digits", "--data.size", "8"]
    protocols = ["--protocols", "linear", "knn", "--dims", "64"]
    assert main(["probe", "--backbone", "nets.TinyNet", "--weights", "weights.pth", *data, *protocols]) == 0
    probe = json.loads((tmp_path / "runs" / "probe" / "nets.TinyNet" / "probe.json").read_text())
    assert {row["features"] for row in probe["rows"]} == {"trained", "random", "raw"}
    assert probe["protocol"]["view"] == "canvases as loaded"
    rows = {(row["features"], row["stage"]): row["knn"]["accuracy"] for row in probe["rows"]}
    assert rows["trained", "conv2"] != rows["random", "conv2"]
    assert "trained" in capsys.readouterr().out


def test_without_weights_a_network_is_random_and_said_to_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [
        "--data",
        "datamodules.Digits",
        "--data.size",
        "32",
        "--crop",
        "28",
        "--protocols",
        "knn",
        "--dims",
        "64",
    ]
    spec = "torchvision:resnet18,stem=small,width=0.125"
    assert main(["probe", "--backbone", spec, *options]) == 0
    (file,) = (tmp_path / "runs" / "probe").glob("*/probe.json")
    probe = json.loads(file.read_text())
    assert {row["features"] for row in probe["rows"]} == {"random", "raw"}
    assert probe["protocol"]["view"] == "centre 28 px of canvases as loaded"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--data", "datamodules.Digits"], "give either a run, before any option, or --backbone SPEC"),
        (["--backbone", "nets.TinyNet"], "no data is named; add --data"),
        (["run", "--weights", "no.pth"], "--weights and --crop go with --backbone"),
        (["--backbone", "nets.TinyNet", "--modality", "rgb"], "--modality goes with a run"),
        (["--backbone", "nets.TinyNet", "--dims", "0", "--data", "datamodules.Digits"], "--dims is at least 1"),
        (["--backbone", "resnet18", "--data", "datamodules.Digits"], "names no network"),
        (["--backbone", "nets.TinyNet", "--weights", "no.pth", "--data", "datamodules.Digits"], "no.pth"),
        (["--backbone", "nets.TinyNet", "--protocols", "magic", "--data", "datamodules.Digits"], "magic"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, monkeypatch, capsys, args, told):
    monkeypatch.chdir(tmp_path)
    assert main(["probe", *args]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert told in said[-1]


def test_one_network_out_of_several_is_probed_after_fine_tuning(tmp_path):
    """Its modality is known from the fine-tuning; the data may still have others."""
    tiny = {"class_path": "pretext.R2Plus1D"}
    tiny["init_args"] = {"layers": [1, 1, 1, 1], "bottleneck": False, "width": 0.0625, "stem": "small"}
    videos = {"class_path": "datamodules.Bouncing"}
    videos["init_args"] = {"root": str(tmp_path), "train_videos": 16, "test_videos": 8, "frames": 2, "batch_size": 4}
    both = {"class_path": "pretext.MultiModal", "init_args": {"backbones": {"rgb": tiny, "grey": tiny}}}
    both["init_args"]["backbones"]["grey"] = {**tiny, "init_args": {**tiny["init_args"], "channels": 1}}
    turn = {"class_path": "pretext.Reconstruction", "init_args": {"frames": 2}}
    on = {"class_path": "pretext.On", "init_args": {"modality": "rgb", "task": turn}}
    config = tmp_path / "both.yaml"
    videos["init_args"]["modalities"] = ["rgb", "grey"]
    trainer = {**TRAINER, "max_steps": 1}
    config.write_text(
        yaml.safe_dump({"model": {"backbone": both, "tasks": {"again": on}}, "data": videos, "trainer": trainer})
    )
    run, tuned = tmp_path / "both", tmp_path / "tuned"
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(run)]) == 0
    model = {"class_path": "pretext.FineTune", "init_args": {"run": str(run), "modality": "rgb"}}
    config.write_text(yaml.safe_dump({"model": model, "data": videos, "trainer": trainer}))
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(tuned)]) == 0
    assert main(["probe", str(tuned), "--protocols", "knn", "--dims", "64"]) == 0
    probe = json.loads((tuned / "probe.json").read_text())
    assert probe["data"]["modality"] == "rgb"
    assert {row["features"] for row in probe["rows"]} == {"trained", "random", "raw"}
