"""Every shipped config takes one real training step and opens with its command, cost and measured result."""

from pathlib import Path

import pytest
import torch
from folders import labelled_folder

from pretext import tasks
from pretext.__main__ import main
from pretext.run import build, find, read

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return labelled_folder(tmp_path_factory.mktemp("images"))


def options(config, folder):
    data = read(config)["data"]
    size = ["--data.batch_size", "4"]
    return (
        [*size, "--data.root", str(folder), "--data.val", "0.25"]
        if data["class_path"] != "datamodules.Digits"
        else size
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda f: str(f.relative_to(ROOT / "configs")))
def test_config_trains_a_step_and_loads_again(config, folder, tmp_path, capsys):
    run = tmp_path / "run"
    limits = [
        "--trainer.log_every_n_steps",
        "1",
        "--trainer.max_steps",
        "1",
        "--trainer.limit_val_batches",
        "1",
        "--trainer.accelerator",
        "cpu",
    ]
    assert (
        main(["fit", "-c", str(config), "--trainer.default_root_dir", str(run), *limits, *options(config, folder)]) == 0
    )
    module, data = build(read(find(run) / "config.yaml"))
    assert data is not None
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert weights["global_step"] == 1
    module.load_state_dict(weights["state_dict"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda f: str(f.relative_to(ROOT / "configs")))
def test_config_says_how_to_run_it_what_it_costs_and_what_came_out(config):
    header = [line for line in config.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Cost:", "Result:"):
        told = next((line for line in header if word in line), "")
        assert told, f"{config.name}: its header lacks {word!r}"
        assert "not measured" not in told, f"{config.name}: {told}"
        assert word == "Command:" or any(c.isdigit() for c in told), f"{config.name}: no figure in {told!r}"


def named(config):
    """The class paths of a config's tasks."""
    return {task["class_path"].removeprefix("pretext.") for task in read(config)["model"]["tasks"].values()}


@pytest.mark.parametrize("folder", ["image", "image/photos"])
def test_every_image_task_has_a_config_for_small_images_and_one_for_photos(folder):
    alone = [named(config) for config in (ROOT / "configs" / folder).glob("*.yaml")]
    assert {name for names in alone if len(names) == 1 for name in names} == set(tasks.__all__)


def test_all_image_tasks_train_together():
    assert named(ROOT / "configs" / "image" / "all.yaml") == set(tasks.__all__)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda f: str(f.relative_to(ROOT / "configs")))
def test_no_config_pads_by_reflection_where_a_copy_would_give_the_answer_away(config):
    """The border of a padded crop is a mirror: it shows hidden pixels again, and only the outer tiles have one."""
    model = read(config)["model"]
    if named(config) & {"Inpainting", "Jigsaw", "RelativePosition"}:
        assert not (model.get("augment") or {}).get("init_args", {}).get("pad")
