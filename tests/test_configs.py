"""Every shipped config takes one real training step and opens with its command, cost and measured result."""

import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # last: no script there hides a library or a file of these tests

from gpu_parts.configs import options  # noqa: E402
from gpu_parts.setting import Setting  # noqa: E402

from datamodules import DataError  # noqa: E402
from pretext import tasks  # noqa: E402
from pretext.__main__ import main  # noqa: E402
from pretext.search.nas.settings import read_comparison  # noqa: E402
from pretext.search.settings import read_search  # noqa: E402
from pretext.search.space import mixture  # noqa: E402
from pretext.training.run import build, find, read, restore  # noqa: E402
from pretext.transfer.task_transfer.networks import build as build_task_network  # noqa: E402
from pretext.transfer.task_transfer.suite import read_task_suite  # noqa: E402
from pretext.transfer.task_transfer.vectors import layout_of  # noqa: E402

DATA = sorted((ROOT / "configs" / "data").glob("*.yaml"))  # what other configs are brought to a set of data with
SUITES = sorted((ROOT / "configs" / "transfer").glob("*.yaml"))  # of tasks whose networks are predicted
CONFIGS = [config for config in sorted((ROOT / "configs").rglob("*.yaml")) if config not in [*DATA, *SUITES]]
IMAGE = ["Colorization", "Contrast", "Counting", "Inpainting", "Jigsaw"]
IMAGE += ["RelativePosition", "Rotation", "SplitBrain", "SuperResolution"]
PICTURES = ["Autoencoding", "Denoising", "Edges", "Keypoints"]  # of one image; not among those trained all at once


GENERATORS = ["VAE"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Where a small set of real files is made for each data module that shipped configs use."""
    return Setting(None, tmp_path_factory.mktemp("data"), dry=True, seconds=3600.0)


ALIKE = {  # by folder: what another config trains too, or what differs from another by its task alone
    "image": "autoencoding edges keypoints rotation_digits colorization contrast counting inpainting jigsaw "
    "relative_position super_resolution",  # the last seven: image/all.yaml
    "audio_visual": "embed distillation cross_modal_prediction alignment_contrastive",  # elo.yaml
    "adaptation": "bridge minent source_only advent",
    "nas": "sample darts",
    "published": "rotnet_cifar10_mlp rotnet_cifar10_few",
}


def once(config):
    """Leave out of the daily tests a config whose tasks another one trains too, or that differs by its task alone."""
    folder = config.parent.name
    alike = folder in ("evolve", "photos") or config.stem in ALIKE.get(folder, "").split()
    return pytest.param(config, marks=pytest.mark.slow) if alike else config


@pytest.mark.parametrize(
    "config", [once(config) for config in CONFIGS], ids=lambda f: str(f.relative_to(ROOT / "configs"))
)
def test_config_trains_a_step_and_loads_again(config, setting, tmp_path, capsys):
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
    made = options(setting, config)
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(run), *limits, *made]) == 0
    module, data = build(read(find(run) / "config.yaml"))
    assert data is not None
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert weights["global_step"] == 1
    restored = restore(module, find(run)).state_dict()
    if "best" not in weights:  # then that epoch's weights count, not the last ones
        assert all(torch.equal(value, restored[name]) for name, value in weights["state_dict"].items())


@pytest.mark.parametrize("config", [*CONFIGS, *SUITES], ids=lambda f: str(f.relative_to(ROOT / "configs")))
def test_config_says_how_to_run_it_what_it_costs_and_what_came_out(config):
    header = [line for line in config.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Cost:", "Result:"):
        told = next((line for line in header if word in line), "")
        assert told, f"{config.name}: its header lacks {word!r}"
        assert "not measured" not in told, f"{config.name}: {told}"
        assert word == "Command:" or any(c.isdigit() for c in told), f"{config.name}: no figure in {told!r}"


@pytest.mark.parametrize("file", SUITES, ids=lambda f: f.stem)
def test_a_suite_of_tasks_to_predict_has_one_network_for_all_and_measures_its_correlations(file, monkeypatch):
    monkeypatch.setenv("PRETEXT_DATA", "photos")
    suite = read_task_suite(file)
    assert len(suite.known) == len(suite.wanted) > 4
    assert len({layout_of(build_task_network(suite, name).state_dict()) for name in suite.known}) == 1
    assert [getattr(suite.correlations, name) for name in ("table", "votes", "scores")] == [None, None, None]


def test_the_config_of_a_comparison_of_architectures_is_whole():
    comparison = read_comparison(read(ROOT / "configs" / "nas" / "sample.yaml"), [])
    assert comparison.measures == ["rotation", "colorization", "jigsaw", "supervised"]
    assert len(comparison.choices) == 24


@pytest.mark.parametrize("name", ["evolve/elo", "evolve/images", "image/all", "audio_visual/bouncing"])
def test_weights_of_a_config_of_several_tasks_can_be_searched(name):
    content = read(ROOT / "configs" / f"{name}.yaml")
    search = read_search(content, [])
    assert set(search.space) == set(content["model"]["tasks"])
    halves = dict.fromkeys(search.space, 0.5)
    module, _ = build({key: value for key, value in mixture(search.config, halves).items() if key != "data"})
    assert module.weighting.weights == halves
    assert module.scales == {name: task.chance().loss for name, task in module.tasks.items()}


def named(tree):
    """The names of all tasks in a config, also those inside others."""
    if not isinstance(tree, dict):
        return set()
    name = str(tree.get("class_path", "")).removeprefix("pretext.")
    return {name}.intersection(tasks.__all__).union(*(named(value) for value in tree.values()))


def test_every_task_has_a_config():
    assert set().union(*(named(read(config)) for config in CONFIGS)) == set(tasks.__all__)


@pytest.mark.parametrize("data", DATA, ids=lambda f: f.stem)
def test_a_set_of_data_keeps_what_a_config_asks_of_it(data, tmp_path):
    config = read(ROOT / "configs" / ("audio" if data.stem == "esc10" else "video") / "arrow_of_time.yaml")
    _, built = build(config, ["--data", str(data), "--data.root", str(tmp_path)])
    with pytest.raises(DataError, match=str(tmp_path)):  # it looks for its files, in vain
        built.setup("fit")
    assert built.batch_size == config["data"]["init_args"]["batch_size"]


@pytest.mark.parametrize(("folder", "wanted"), [("image", {*IMAGE, *PICTURES}), ("image/photos", set(IMAGE))])
def test_every_image_task_has_a_config_for_small_images_and_one_for_photos(folder, wanted):
    alone = [named(read(config)) for config in (ROOT / "configs" / folder).glob("*.yaml")]
    assert {name for names in alone if len(names) == 1 for name in names} == wanted


def test_all_image_tasks_train_together():
    assert named(read(ROOT / "configs" / "image" / "all.yaml")) == set(IMAGE)


def test_all_tasks_on_several_modalities_train_together():
    assert named(read(ROOT / "configs" / "audio_visual" / "elo.yaml")) >= set(tasks.__all__) - {
        *IMAGE,
        *PICTURES,
        *GENERATORS,
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda f: str(f.relative_to(ROOT / "configs")))
def test_no_config_pads_by_reflection_where_a_copy_would_give_the_answer_away(config):
    """The border of a padded crop is a mirror: it shows hidden pixels again, and only the outer tiles have one."""
    model = read(config)["model"]
    if named(read(config)) & {"Inpainting", "Jigsaw", "RelativePosition"}:
        assert not (model.get("augment") or {}).get("init_args", {}).get("pad")


@pytest.mark.parametrize("before", ["arid6", "lrwar"])
@pytest.mark.parametrize("after", ["arid6", "lrwar"])
def test_a_run_on_one_set_of_videos_can_be_probed_on_another(before, after, tmp_path):
    config = read(ROOT / "configs" / "video" / "arrow_of_time.yaml")
    files = {name: ROOT / "configs" / "data" / f"{name}.yaml" for name in (before, after)}
    options = ["--data", str(files[after]), "--data.root", str(tmp_path)]
    _, alone = build(config, options)
    known = OmegaConf.to_container(OmegaConf.load(files[before]))["init_args"]
    ran = {**config, "data": {**config["data"], "init_args": {**config["data"]["init_args"], **known}}}
    _, brought = build(ran, options)
    assert (brought.root, brought.layout, brought.lists) == (alone.root, alone.layout, alone.lists)


def test_a_run_on_bouncing_balls_can_be_probed_on_real_videos(tmp_path):
    config = read(ROOT / "configs" / "audio_visual" / "bouncing.yaml")
    data = ROOT / "configs" / "data" / "lrwar.yaml"
    _, built = build(config, ["--data", str(data), "--data.root", str(tmp_path)], "rgb")
    assert built.how.modalities == ("rgb",)
    assert built.how.fps == config["data"]["init_args"]["windows"]["fps"]


def test_vcop_is_trained_as_its_paper_says(tmp_path):
    """Three clips of 16 frames, always 8 apart, each with a crop of its own, dropout of a half, SGD at .001."""
    module, data = build(read(ROOT / "configs" / "video" / "vcop.yaml"), ["--data.root", str(tmp_path)])
    (task,) = module.tasks.values()
    assert (task.pieces, task.frames, task.gap, task.least_gap) == (3, 16, 8, 8)
    assert (task.jitter, task.dropout.p) == (8, 0.5)
    (group,) = module.rates.optim.optimizer(module.parameters()).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.001, 0.9, 0.0005)
    assert data.batch_size == 8


def test_the_linear_probe_takes_its_rate_for_the_batch_that_it_is_meant_for(tmp_path):
    """Goyal et al.'s rate of classifiers is .01 for 256 items."""
    words = ["--model.backbone", "pretext.TorchVision", "--data.root", str(tmp_path)]
    module, data = build(read(ROOT / "configs" / "evaluation" / "linear_probe.yaml"), words)
    (group,) = module.rates.optim.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"] * 256 / data.batch_size, group["momentum"], group["weight_decay"]) == (0.01, 0.9, 1e-4)


@pytest.mark.parametrize("name", ["jigsaw", "relative_position"])
@pytest.mark.parametrize("folder", ["image", "image/photos"])
def test_the_grid_moves_and_changes_its_size_in_the_shipped_configs(folder, name, tmp_path):
    """Else where a tile lies in the photo answers most of the puzzle."""
    module, _ = build(read(ROOT / "configs" / folder / f"{name}.yaml"), ["--data.root", str(tmp_path)])
    (task,) = module.tasks.values()
    smallest, largest = task.cut.extent if name == "jigsaw" else task.extent
    assert 0 < smallest < largest < 1
