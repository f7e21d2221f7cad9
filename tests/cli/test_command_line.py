"""The command line as a user meets it: verbs, errors in one line, runs that every verb takes."""

import json
import re
import subprocess
import sys
from csv import DictReader
from itertools import product
from pathlib import Path

import pytest
import torch
from folders import labelled_folder
from torchvision.models import resnet18

import pretext
from pretext.__main__ import HELP, main
from pretext.training.run import build, find, read

TINY = """
model:
  backbone: {class_path: pretext.TorchVision, init_args: {name: resnet18, stem: imagenet, width: 0.25}}
  tasks:
    turn: {class_path: pretext.Rotation}
    puzzle: {class_path: pretext.Jigsaw, init_args: {grid: 2, permutations: 24}}
data: {class_path: datamodules.Digits, init_args: {size: 32, batch_size: 32}}
trainer: {max_steps: 2, limit_val_batches: 1, limit_test_batches: 1, limit_predict_batches: 1, accelerator: cpu}
"""
ROOT = Path(__file__).parents[2]
VERBS = (
    "fit",
    "validate",
    "test",
    "predict",
    "show",
    "probe",
    "compare",
    "bench",
    "evolve",
    "transfer",
    "nas",
    "audit",
    "reproduce",
    "report",
    "export",
    "cluster",
    "runs",
    "configs",
    "tasks",
    "data",
    "backbones",
    "completion",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return labelled_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """`python -m pretext predict FOLDER`, of no run, in a process of its own, which then says a type of Lightning's."""
    code = (
        "import inspect, runpy\n"
        "try:\n    runpy.run_module('pretext', run_name='__main__', alter_sys=True)\n"
        "finally:\n    from pytorch_lightning import Trainer\n"
        "    print(inspect.signature(Trainer.__init__).parameters['limit_predict_batches'].annotation)"
    )
    command = [sys.executable, "-c", code, "predict", str(tmp_path_factory.mktemp("empty"))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A run of torchvision's own ResNet-18."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    whole = ["--model.backbone.width", "1"]
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(folder), *whole]) == 0
    return folder


def refused(capsys, *args):
    """Run a verb that must fail and return its one line."""
    assert main([str(arg) for arg in args]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"pretext {args[0]}: ")
    return lines[0]


def test_help_lists_every_verb_with_one_line(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.strip() == HELP.strip()
    assert [line.split()[0] for line in out.splitlines() if re.match(r"  \w", line)] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    try:
        assert main([verb, "--help"]) == 0
    except SystemExit as stop:  # argparse's own
        code = stop.code
    else:
        code = 0
    assert code == 0
    assert "usage: " in capsys.readouterr().out


def test_loggers_of_ones_own_stand_beside_the_history(config, tmp_path):
    run, mine = tmp_path / "run", tmp_path / "mine"
    own = ["--trainer.logger", "pytorch_lightning.loggers.CSVLogger", "--trainer.logger.save_dir", str(mine)]
    words = ["--trainer.default_root_dir", str(run), "--trainer.log_every_n_steps", "1"]
    assert main(["fit", "-c", str(config), *words, *own]) == 0
    (theirs,) = mine.rglob("metrics.csv")
    with theirs.open() as one, (run / "metrics.csv").open() as other:
        assert [row["train/loss"] for row in DictReader(one)] == [row["train/loss"] for row in DictReader(other)]
    assert main(["fit", str(run), "--trainer.max_steps", "3"]) == 0
    with (run / "metrics.csv").open() as history:
        assert [row["step"] for row in DictReader(history) if row["train/loss"]] == ["0", "1", "2"]


@pytest.fixture
def poisoned(config, tmp_path, monkeypatch):
    """A run whose checkpoint names a class that leaves a mark when its module is imported, another seed and a task."""
    run, mark = tmp_path / "run", tmp_path / "mark"
    assert main(["fit", "-c", str(config), "--trainer.default_root_dir", str(run)]) == 0
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    evil = {"class_path": "evil.Evil"}
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] = {"backbone": evil, "tasks": {"other": evil}, "seed": 7}
    checkpoint["datamodule_hyper_parameters"] = {"_class_path": "evil.Evil"}
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    return run, mark


def test_a_checkpoint_builds_and_changes_nothing(poisoned, tmp_path, capsys):
    run, mark = poisoned
    before = (run / "config.yaml").read_text()
    small = ["--data.split.limit", "60"]
    for words in (
        ["validate", run],
        ["test", run],
        ["predict", run],
        ["show", run],
        ["probe", run, *small, "--protocols", "knn"],
        ["compare", run, run],
        ["export", run, "--to", "safetensors"],
        ["report", run],
        ["fit", run, "--trainer.max_steps", "3"],
    ):
        assert main([str(word) for word in words]) == 0, (words, capsys.readouterr().err)
        assert not mark.exists(), words
    assert (run / "config.yaml").read_text().replace("max_steps: 3", "max_steps: 2") == before
    assert list(pretext.load(run).tasks) == ["turn", "puzzle"]


class TestErrors:
    def test_misspelt_key(self, config, capsys):
        line = refused(capsys, "fit", "-c", config, "--model.sed", 3)
        assert "sed" in line

    def test_misspelt_key_in_a_task(self, config, capsys):
        line = refused(capsys, "fit", "-c", config, "--model.tasks.puzzle.permutation", 3)
        assert "Option 'permutation' is not accepted" in line
        assert "pretext.Jigsaw" in line

    def test_misspelt_key_in_the_config(self, tmp_path, capsys):
        file = tmp_path / "bad.yaml"
        file.write_text(TINY.replace("grid: 2", "gird: 2"))
        assert "gird" in refused(capsys, "fit", "-c", file)

    def test_unknown_class(self, config, capsys):
        assert "Digitz" in refused(capsys, "fit", "-c", config, "--data", "datamodules.Digitz")

    def test_broken_yaml_and_a_config_without_a_model(self, tmp_path, capsys):
        file = tmp_path / "bad.yaml"
        for text in ("model: {backbone: [", "trainer: {max_steps: 1}", "- a list"):
            file.write_text(text)
            assert refused(capsys, "show", "-c", file)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
    def test_a_device_that_is_not_there(self, config, tmp_path, capsys):
        where = ("--trainer.default_root_dir", tmp_path / "run", "--trainer.accelerator", "cuda")
        assert "CUDA" in refused(capsys, "fit", "-c", config, *where).upper()

    def test_a_checkpoint_of_another_architecture(self, run, capsys):
        line = refused(capsys, "validate", run, "--model.backbone.name", "resnet34")
        assert "loading state_dict" in line
        assert "the weights are of another network" in line
        assert len(line) < 600

    def test_what_is_no_yaml_and_what_asks_for_python_is_told_by_name_and_nothing_of_it_runs(self, tmp_path, capsys):
        mark, file = tmp_path / "mark", tmp_path / "evil.yaml"
        texts = [b"\xfe\xff no text", f"model: !!python/object/apply:os.system ['touch {mark}']\n".encode()]
        for text, verb in product(texts, (["fit", "-c"], ["show", "-c"], ["evolve", "-c"], ["bench"])):
            file.write_bytes(text)
            assert f"{file} is no YAML of plain data" in refused(capsys, *verb, file)
        assert not mark.exists()

    def test_an_error_from_elsewhere_says_how_to_see_where(self, config, capsys):
        line = refused(capsys, "fit", "-c", config, "--model.tasks.bug", "nets.Broken")
        assert "PRETEXT_TRACEBACK=1 shows where" in line

    def test_missing_config(self, tmp_path, capsys):
        assert "nowhere.yaml" in refused(capsys, "fit", "-c", tmp_path / "nowhere.yaml")

    def test_missing_and_empty_folder(self, config, tmp_path, capsys):
        swap = ("--data", "datamodules.Photos", "--data.root")
        where = ("--trainer.default_root_dir", tmp_path / "run")
        assert "nowhere" in refused(capsys, "fit", "-c", config, *swap, tmp_path / "nowhere", *where)
        (tmp_path / "empty").mkdir()
        assert "empty" in refused(capsys, "fit", "-c", config, *swap, tmp_path / "empty", *where)

    def test_task_on_the_wrong_kind_of_backbone(self, config, capsys):
        line = refused(capsys, "fit", "-c", config, "--model.backbone", "nets.WaveNet")
        assert "Rotation needs a backbone with an axis" in line
        assert "WaveNet reads 't'" in line

    def test_unknown_torchvision_model(self, config, capsys):
        assert "resnet18" in refused(capsys, "fit", "-c", config, "--model.backbone.name", "resnet81")

    def test_a_run_that_is_none(self, tmp_path, capsys):
        for verb in ("show", "probe", "report", "validate"):
            assert "no run in" in refused(capsys, verb, tmp_path)

    def test_a_folder_that_holds_a_run_is_not_overwritten(self, config, run, capsys):
        before = (run / "checkpoints" / "last.ckpt").read_bytes()
        line = refused(capsys, "fit", "-c", config, "--trainer.default_root_dir", run)
        assert "already holds a run" in line
        assert (run / "checkpoints" / "last.ckpt").read_bytes() == before

    def test_nothing_to_resume(self, tmp_path, capsys):
        assert "no run in" in refused(capsys, "fit", tmp_path)

    def test_show_wants_a_run_or_a_config(self, capsys):
        assert "or -c CONFIG" in refused(capsys, "show")

    def test_unknown_verb_and_unknown_option(self, run, capsys):
        assert "unknown verb 'trian'" in refused(capsys, "trian")
        assert "--too" in refused(capsys, "export", run, "--to", "safetensors", "--too", "x")

    def test_a_process_ends_with_the_exit_code_and_no_traceback(self, refusing):
        assert refusing.returncode == 1
        assert "Traceback" not in refusing.stderr
        assert len(refusing.stderr.strip().splitlines()) == 1


class TestRun:
    def test_default_folder_is_the_configs_name_and_a_number(self, config, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for number in ("0", "1"):
            assert main(["fit", "-c", str(config), "--trainer.max_steps", "1"]) == 0
            assert (tmp_path / "runs" / "tiny" / number / "checkpoints" / "last.ckpt").is_file()
        assert find("runs/tiny") == Path("runs/tiny/1")

    def test_record(self, run):
        chance = json.loads((run / "chance.json").read_text())
        assert chance["turn"]["accuracy"] == 0.25
        environment = json.loads((run / "environment.json").read_text())
        assert environment["torch"] == torch.__version__.split("+")[0]
        assert environment["command"].startswith("pretext fit -c ")

    def test_load_gives_the_backbone(self, run):
        backbone = pretext.load(run).backbone
        assert not backbone.training
        assert backbone(torch.rand(2, 3, 32, 32)).pooled.shape == (2, 512)

    @pytest.mark.parametrize("verb", ["validate", "test"])
    def test_validate_and_test_take_a_run_and_leave_its_config_alone(self, run, verb, capsys):
        before = (run / "config.yaml").read_text()
        assert main([verb, str(run)]) == 0
        assert (run / "config.yaml").read_text() == before
        assert "turn/accuracy" in capsys.readouterr().out

    def test_predict_writes_features(self, run):
        from safetensors.torch import load_file

        assert main(["predict", str(run)]) == 0
        features = load_file(run / "features.safetensors")
        assert features["pooled"].shape == (32, 512)
        assert features["index"].shape == (32,)

    def test_show_before_and_after_training(self, run, config, tmp_path):
        for source in (["-c", str(config)], [str(run)]):
            out = tmp_path / "puzzles.png"
            assert main(["show", *source, "--out", str(out), "--count", "2"]) == 0
            assert out.read_bytes().startswith(b"\x89PNG")
            out.unlink()

    def test_show_takes_the_data_from_an_option_whose_value_is_no_run(self, folder, tmp_path):
        config, out = str(ROOT / "configs" / "image" / "rotation.yaml"), tmp_path / "puzzles.png"
        assert main(["show", "-c", config, "--data.root", str(folder), "--out", str(out), "--count", "2"]) == 0
        assert out.is_file()

    def test_probe_on_another_labelled_set(self, run, folder, capsys):
        assert main(["probe", str(run), "--data", "datamodules.ImageFolder", "--data.root", str(folder)]) == 0
        result = json.loads((run / "probe.json").read_text())
        assert result["data"]["class"] == "ImageFolder"
        assert result["protocol"]["view"] == "centre 32 px of canvases of 32 px, as in training"
        assert [row["stage"] for row in result["rows"]][:5] == ["stem", "layer1", "layer2", "layer3", "layer4"]
        assert main(["report", str(run)]) == 0
        assert "ImageFolder" in (run / "report.html").read_text()

    def test_export_to_torchvision_by_name(self, run, tmp_path):
        assert main(["export", str(run), "--to", "torchvision"]) == 0
        state = torch.load(run / "backbone.pth", weights_only=True)
        missing, unexpected = resnet18().load_state_dict(state, strict=False)
        assert set(missing) == {"fc.weight", "fc.bias"}
        assert not unexpected

    def test_an_option_of_one_task_can_be_overridden_and_is_told(self, config, tmp_path, capsys):
        where = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", "1"]
        assert main(["fit", "-c", str(config), *where, "--model.tasks.puzzle.permutations", "5"]) == 0
        assert "permutations=5, min_distance=" in capsys.readouterr().err  # the realised distances are reported
        assert pretext.load(tmp_path / "run").tasks["puzzle"].table.shape[0] == 5

    def test_interpolation_between_parts_of_a_config(self, tmp_path):
        file = tmp_path / "linked.yaml"
        augment = "  augment: {class_path: pretext.Augment, init_args: {crop: '${data.init_args.size}'}}"
        file.write_text(TINY.replace("data:", f"{augment}\ndata:").replace("size: 32", "size: 24", 1))
        where = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", "1"]
        assert main(["fit", "-c", str(file), *where]) == 0
        assert pretext.load(tmp_path / "run").augment.crop == 24

    @pytest.mark.slow  # the compiler alone takes a minute and more
    def test_a_compiled_run_saves_plain_names(self, config, tmp_path, monkeypatch):
        torch._dynamo.reset()  # what other tests compiled counts towards its limit
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))  # other processes fill the shared one
        where = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", "2"]
        assert main(["fit", "-c", str(config), *where, "--model.execution.compile", "true"]) == 0
        assert pretext.load(tmp_path / "run").backbone(torch.rand(2, 3, 32, 32)).pooled.isfinite().all()

    def test_one_seed_seeds_everything(self, config, tmp_path):
        where = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", "1"]
        assert main(["fit", "-c", str(config), *where, "--seed_everything", "7"]) == 0
        module, data = build(read(tmp_path / "run" / "config.yaml"))
        assert module.seed == 7
        assert data is not None
        assert data.seed == 7


def test_whole_numbers_of_batches_stay_whole_numbers(refusing):
    """In a fresh process of the command line; see tests/conftest.py for what may turn 1 batch into all of them."""
    assert refusing.stdout.index("int") < refusing.stdout.index("float")
