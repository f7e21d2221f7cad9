"""Options and class paths of release 0.1: in files, in runs and on the command line, each told of in one line."""

import json
import warnings

import pytest
import torch
import yaml

import pretext
from pretext.__main__ import main
from pretext.training import old_tasks
from pretext.training.options import renamed
from pretext.training.renamed import _tell_once, current, moved, translated
from pretext.training.run import build, build_data, read, resolved

SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.25, "momentum": 0.9}}
NET = {"class_path": "nets.TinyNet"}
OLD = {
    "model": {
        "backbone": NET,
        "tasks": {"turn": {"class_path": "pretext.tasks.rotation.Rotation"}},
        "weighting": "pretext.weighting.Fixed",
        "augment": {"class_path": "pretext.augment.Augment", "init_args": {"crop": 7}},
        "optimizer": SGD,
        "schedule": "constant",
        "warmup": 0.5,
        "channels_last": True,
        "compile": False,
    },
    "data": {"class_path": "old_data.Grouped", "init_args": {"workers": 0, "val": 0.2, "size": 8}},
    "trainer": {"max_steps": 1, "accelerator": "cpu", "limit_val_batches": 0, "enable_progress_bar": False},
}
NEW = {
    "model": {
        "backbone": NET,
        "tasks": {"turn": {"class_path": "pretext.tasks.image.rotation.Rotation"}},
        "weighting": "pretext.nn.weighting.Fixed",
        "augment": {"class_path": "pretext.views.augment.Augment", "init_args": {"crop": 7}},
        "optim": {"optimizer": SGD, "schedule": "constant", "warmup": 0.5},
        "execution": {"channels_last": True, "compile": False},
    },
    "data": {
        "class_path": "old_data.Grouped",
        "init_args": {"size": 8, "reading": {"workers": 0}, "split": {"val": 0.2}},
    },
    "trainer": OLD["trainer"],
}


@pytest.fixture(autouse=True)
def fresh_memory():
    """What was told in another test is told again."""
    _tell_once.cache_clear()


def lines(capsys):
    """Return what was told of old names since the last look."""
    return [line for line in capsys.readouterr().err.splitlines() if " is now " in line]


def written(folder, config, name="old"):
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


class TestConfigs:
    def test_options_move_into_the_groups_that_have_them_and_classes_to_where_they_are(self):
        assert current(OLD) == NEW

    def test_what_is_new_already_stays(self):
        config, hints = translated(NEW)
        assert config == NEW
        assert not hints

    def test_every_old_name_is_told_of(self):
        assert [(hint.old, hint.new) for hint in translated({"data": OLD["data"]})[1]] == [
            ("data.init_args.workers", "data.init_args.reading.workers"),
            ("data.init_args.val", "data.init_args.split.val"),
        ]

    def test_a_users_own_options_of_the_same_names_stay(self):
        own = {"class_path": "old_data.Flat", "init_args": {"workers": 1, "val": 0.5, "optimizer": "mine"}}
        assert translated({"data": own}) == ({"data": own}, [])

    def test_arguments_that_a_class_hands_on_are_those_of_its_base(self):
        heir = {"class_path": "old_data.Heir", "init_args": {"mirror": True, "workers": 1, "size": 8}}
        args = current({"data": heir})["data"]["init_args"]
        assert args == {"mirror": True, "size": 8, "reading": {"workers": 1}}

    @pytest.mark.parametrize("name", ["old_data.Twice", "old_data.Missing", "no_such_module.Data", "Digits"])
    def test_what_is_not_certain_is_left_to_the_parser(self, name):
        config = {"data": {"class_path": name, "init_args": {"workers": 1}}}
        assert translated(config) == (config, [])

    def test_a_group_that_is_there_already_wins(self):
        config = {"model": {"warmup": 0.5, "schedule": "constant", "optim": {"warmup": 0.25}}}
        assert current(config) == {"model": {"optim": {"warmup": 0.25, "schedule": "constant"}}}

    def test_evaluators_and_what_is_nested_anywhere(self):
        data = {"class_path": "old_data.Grouped", "init_args": {"workers": 1}}
        online = {"class_path": "pretext.callbacks.online.Online", "init_args": {"data": data}}
        tuned = {"class_path": "pretext.evaluators.finetune.FineTune", "init_args": {"warmup": 0.5, "freeze": 1}}
        config = current({"model": tuned, "trainer": {"callbacks": [online]}, "evolve": {"probe_data": data}})
        assert config["model"]["class_path"] == "pretext.supervised.finetune.FineTune"
        assert config["model"]["init_args"] == {"freeze": 1, "optim": {"warmup": 0.5}}
        (callback,) = config["trainer"]["callbacks"]
        assert callback["class_path"] == "pretext.training.callbacks.online.Online"
        for grouped in (callback["init_args"]["data"], config["evolve"]["probe_data"]):
            assert grouped["init_args"] == {"reading": {"workers": 1}}

    def test_a_task_that_renamed_its_arguments(self, monkeypatch):
        monkeypatch.setitem(
            old_tasks.RULES, "Jigsaw", lambda args: {{"side": "grid"}.get(k, k): v for k, v in args.items()}
        )
        puzzle = {"class_path": "pretext.Jigsaw", "init_args": {"side": 2, "permutations": 24}}
        on = {"class_path": "pretext.On", "init_args": {"modality": "rgb", "task": puzzle}}
        config, (hint,) = translated({"model": {"tasks": {"puzzle": on}}})
        args = config["model"]["tasks"]["puzzle"]["init_args"]["task"]["init_args"]
        assert args == {"grid": 2, "permutations": 24}
        assert hint.old == "model.tasks.puzzle.init_args.task.init_args {side: 2}"
        assert hint.new == "model.tasks.puzzle.init_args.task.init_args {grid: 2}"

    def test_paths_that_are_none_of_ours_or_did_not_move(self):
        for path in (
            "torch.optim.SGD",
            "pretext.Rotation",
            "pretext.callbacks.Online",
            "pretext",
            "mine.pretext.rng.X",
        ):
            assert moved(path) == path
        assert moved("pretext.evaluators.linear_probe.sgd") == "pretext.supervised.linear_probe.sgd"


KNOWN = {"data": "old_data.Grouped", "model": {"tasks": {"turn": {"class_path": "pretext.Rotation"}}}}


class TestCommandLine:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (["--data.workers", "0"], ["--data.reading.workers", "0"]),
            (["--data.workers=0"], ["--data.reading.workers=0"]),
            (["--data.init_args.workers", "0"], ["--data.init_args.reading.workers", "0"]),
            (["--data.init_args", "{workers: 0, size: 9}"], ["--data.init_args", "{size: 9, reading: {workers: 0}}"]),
            (["--model.warmup", "1e-1"], ["--model.optim.warmup", "1e-1"]),
            (["--model.compile=true"], ["--model.execution.compile=true"]),
            (
                ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1"],
                ["--model.optim.optimizer", "torch.optim.SGD", "--model.optim.optimizer.lr", "0.1"],
            ),
            (["--model.optimizer.init_args.lr=1"], ["--model.optim.optimizer.init_args.lr=1"]),
            (["--model.augment", "pretext.augment.Augment"], ["--model.augment", "pretext.views.augment.Augment"]),
            (["--data", "old_data.Flat", "--data.workers", "0"], ["--data", "old_data.Flat", "--data.workers", "0"]),
            (
                ["--trainer.max_steps", "-1", "-c", "x.yaml", "stray"],
                ["--trainer.max_steps", "-1", "-c", "x.yaml", "stray"],
            ),
        ],
    )
    def test_options_move_with_their_values(self, old, new):
        words, hints = renamed(old, KNOWN)
        assert words == new
        assert bool(hints) == (old != new)
        assert renamed(new, KNOWN) == (new, [])

    def test_data_of_a_file_of_their_own(self, tmp_path):
        old = written(tmp_path, {"class_path": "old_data.Grouped", "init_args": {"workers": 1}}, "data")
        words, (hint,) = renamed(["--data", str(old), "--data.reading.cache=no"], {"data": "old_data.Flat"})
        assert words[0] == "--data"
        assert yaml.safe_load(words[1]) == {"class_path": "old_data.Grouped", "init_args": {"reading": {"workers": 1}}}
        assert words[2:] == ["--data.reading.cache=no"]
        assert (hint.old, hint.new, hint.source) == ("init_args.workers", "init_args.reading.workers", str(old))
        new = written(tmp_path, yaml.safe_load(words[1]), "data")
        assert renamed(["--data", str(new)], {}) == (["--data", str(new)], [])
        assert renamed(["--data", str(new), "--data.val", "0.5"], {})[0][2:] == ["--data.split.val", "0.5"]
        data = build_data([*words, "--data.workers", "3"])
        assert (data.reading.workers, data.reading.cache) == (3, "no")

    def test_an_evaluator_named_by_the_config(self):
        known = {"model": {"class_path": "pretext.LinearProbe"}}
        assert renamed(["--model.init_args.warmup=0.1"], known)[0] == ["--model.init_args.optim.warmup=0.1"]
        assert renamed(["--model.warmup", "0.1"], known)[0] == ["--model.optim.warmup", "0.1"]


class TestVerbs:
    def test_a_file_and_options_of_release_0_1_train_as_todays_do(self, tmp_path, capsys):
        options = {"old": ["--model.warmup=0.25", "--data.workers", "1"]}
        options["new"] = ["--model.optim.warmup=0.25", "--data.reading.workers", "1"]
        runs = {}
        for name, config in (("old", OLD), ("new", NEW)):
            file = written(tmp_path, config, name)
            runs[name] = tmp_path / f"run-{name}"
            where = ["--trainer.default_root_dir", str(runs[name])]
            assert main(["fit", "-c", str(file), *where, *options[name]]) == 0
            told = lines(capsys)
            assert len(told) == len(set(told)) == (0 if name == "new" else 12)
            if name == "old":
                assert "old.yaml: model.warmup is now model.optim.warmup" in told
                assert "old.yaml: data.init_args.workers is now data.init_args.reading.workers" in told
                assert "old.yaml: pretext.augment.Augment is now pretext.views.augment.Augment" in told
                assert "pretext: --data.workers is now --data.reading.workers" in told
        old, new = (pretext.load(run) for run in runs.values())
        assert old.rates.optim.warmup == new.rates.optim.warmup == 0.25
        assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))
        texts = [(run / "config.yaml").read_text().replace("run-old", "run-new") for run in runs.values()]
        assert texts[0] == texts[1]

    def test_a_run_made_then_resumes_and_is_drawn_without_a_word(self, tmp_path, capsys):
        run = tmp_path / "run"
        assert main(["fit", "-c", str(written(tmp_path, NEW)), "--trainer.default_root_dir", str(run)]) == 0
        assert not lines(capsys)
        own = yaml.safe_load((run / "config.yaml").read_text())
        own["model"] |= own["model"].pop("optim") | own["model"].pop("execution")
        own["data"]["init_args"] |= own["data"]["init_args"].pop("reading")
        own["model"]["augment"]["class_path"] = "pretext.augment.Augment"
        (run / "config.yaml").write_text(yaml.safe_dump(own))
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            assert main(["fit", str(run), "--trainer.max_steps", "2"]) == 0
            assert main(["show", str(run)]) == 0
        assert not lines(capsys)
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2

    def test_a_second_file_says_no_class_and_takes_the_firsts(self, tmp_path, capsys):
        first, second = written(tmp_path, NEW), written(tmp_path, {"data": {"init_args": {"workers": 1}}}, "more")
        run = tmp_path / "run"
        files = ["-c", str(first), "-c", str(second), "--trainer.default_root_dir", str(run)]
        assert main(["fit", *files]) == 0
        assert lines(capsys) == ["more.yaml: data.init_args.workers is now data.init_args.reading.workers"]
        assert build(read(run / "config.yaml"))[1].reading.workers == 1

    def test_reading_a_config_tells_with_the_files_name(self, tmp_path, capsys):
        file = written(tmp_path, {"model": {**NEW["model"], "warmup": 0.5}})
        assert read(file)["model"]["warmup"] == 0.5  # as it was written: what is built takes the names of today
        assert lines(capsys) == [f"{file}: model.warmup is now model.optim.warmup"]
        read(file)
        assert not lines(capsys)

    def test_building_and_resolving_take_old_configs_and_options(self, capsys):
        module, data = build(OLD, ["--data.fold", "3", "--model.schedule=cosine"])
        assert (data.reading.workers, data.split.fold) == (0, 3)
        assert (module.rates.optim.schedule, module.execution.channels_last) == ("cosine", True)
        assert build_data(["--data", "old_data.Grouped", "--data.workers", "1"]).reading.workers == 1
        assert lines(capsys) == [
            "pretext: --data.fold is now --data.split.fold",
            "pretext: --model.schedule is now --model.optim.schedule",
            "pretext: --data.workers is now --data.reading.workers",
        ]
        assert json.dumps(resolved(OLD), sort_keys=True) == json.dumps(resolved(NEW), sort_keys=True)

    def test_an_option_that_never_was_is_still_refused(self, tmp_path, capsys):
        file = written(tmp_path, NEW)
        assert main(["fit", "-c", str(file), "--model.wormup", "0.5"]) == 1
        assert "wormup" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["data.reading.cache", "data.init_args.reading.cache", "data.cache"])
def test_a_null_in_a_group_is_none_and_leaves_the_group_s_other_options(option):
    options = ["--data", "old_data.Grouped", "--data.reading.workers", "5", f"--{option}", "null"]
    reading = build_data(options).reading
    assert (reading.workers, reading.cache) == (5, None)
