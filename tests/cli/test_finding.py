"""What there is, and how it is found: configs by name, lists, help, completion; and none of it imports torch."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from folders import labelled_folder

import datamodules
import pretext
from pretext import backbones, tasks
from pretext.__main__ import VERBS, main
from pretext.cli.completion import script
from pretext.cli.fit_help import help_of
from pretext.core import catalogue
from pretext.core.configs import PACKAGED, find_config, header, like_config, names, title_of, with_files
from pretext.evaluation.available import OURS
from pretext.evaluation.names import EVERY

ROOT = Path(__file__).parents[2]
MADE = str(ROOT / "tests" / "made_by_be181bd")
DATA = {f"datamodules.{name}" for name in datamodules.__all__ if hasattr(getattr(datamodules, name), "open")}


def out_of(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr().out


class TestConfigs:
    @pytest.mark.parametrize("said", ["image/rotation", "image/rotation.yaml", "configs/image/rotation.yaml"])
    def test_a_packaged_config_is_found_by_its_name_from_anywhere(self, said, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert find_config(said).read_text() == (ROOT / "configs" / "image" / "rotation.yaml").read_text()

    def test_a_file_of_that_name_comes_first(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        mine = tmp_path / "image" / "rotation"
        mine.parent.mkdir()
        mine.write_text("model: {}\n")
        assert find_config("image/rotation").resolve() == mine

    def test_words_of_a_command_line(self):
        rotation, esc10 = PACKAGED / "image" / "rotation.yaml", PACKAGED / "data" / "esc10.yaml"
        words = ["-c", "image/rotation", "--data", "data/esc10", "--data.root", "data/esc10", "--config=image/rotation"]
        assert with_files(words) == [
            *("-c", str(rotation), "--data", str(esc10), "--data.root", "data/esc10"),
            f"--config={rotation}",
        ]
        assert with_files(["--data", "datamodules.Digits"]) == ["--data", "datamodules.Digits"]

    def test_a_run_is_called_by_modality_and_config(self, tmp_path):
        assert title_of(find_config("video/arrow_of_time")) == Path("video/arrow_of_time")
        assert title_of(tmp_path / "configs" / "mine" / "first.yaml") == Path("mine/first")
        assert title_of(tmp_path / "first.yaml") == Path("first")

    def test_each_has_a_line_with_its_question_its_needs_and_its_result(self, capsys):
        lines = out_of(capsys, "configs").splitlines()
        assert [line.split()[0] for line in lines] == names()
        (rotation,) = (line for line in lines if line.startswith("image/rotation "))
        for said in (
            "which of four quarter turns?",
            "needs ImageFolder at --data.root",
            "https://arxiv.org/abs/1803.07728",
            "rotation accuracy 64.4 ± 1.8 % (chance 25 %)",
        ):
            assert said in rotation
        (digits,) = (line for line in lines if line.startswith("image/digits "))
        assert "needs Digits, made here" in digits
        (finetune,) = (line for line in lines if line.startswith("evaluation/finetune "))
        assert "needs ImageFolder at --data.root, a trained run at --model.run" in finetune

    def test_a_line_says_all_that_it_speaks_of(self, capsys):
        lines = {line.split()[0]: line for line in out_of(capsys, "configs").splitlines()}
        assert [line for line in lines.values() if re.search(r"\b(?:those|these) (?:\d+|steps)", line)] == []
        assert "after 240 steps, one seed: loss 0.56" in lines["image/edges"]
        assert "after 240 steps, on held-out videos" in lines["video/rotation"]
        assert "linear probe of 2,000 labels 43.4 % of 1,000 test items" in lines["image/rotation_digits"]
        assert [line for line in lines.values() if line.count("(") != line.count(")")] == []
        for name, line in lines.items():  # a config with a network of its own begins without a run, too
            wants = "a trained run at --model.run" in line
            assert not (wants and "backbone:" in (PACKAGED / f"{name}.yaml").read_text()), name
        assert "a trained run" not in lines["meta/maml"] + lines["adaptation/dann"]

    def test_a_folder_by_the_name_of_a_suite_is_not_said_to_be_trained(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photos").mkdir()
        for verb in ("fit", "probe", "show", "compare", "report"):
            assert main([verb, "photos"]) == 1
            assert "transfer/photos" not in capsys.readouterr().err

    def test_a_suite_of_tasks_says_which_verb_takes_it_and_where_its_photos_are(self, tmp_path, capsys):
        (line,) = (one for one in out_of(capsys, "configs").splitlines() if one.startswith("transfer/photos "))
        assert "needs a folder of photos in the variable PRETEXT_DATA" in line
        mine = tmp_path / "mine.yaml"
        assert f"pretext transfer predict {mine}" in out_of(capsys, "configs", "transfer/photos", "--copy", str(mine))
        for words in (["fit", "-c", str(mine)], ["transfer", str(mine)]):
            assert main(words) == 1
            assert "is a suite of tasks to predict: pretext transfer predict" in capsys.readouterr().err
        assert main(["transfer", "predict", "image/rotation"]) == 1
        assert "is a config of training: pretext fit -c" in capsys.readouterr().err
        assert main(["transfer", "predict", "transfer/fotos"]) == 1
        assert "did you mean transfer/photos?" in capsys.readouterr().err

    def test_every_header_says_what_it_asks(self):
        assert [name for name in names() if not header(PACKAGED / f"{name}.yaml").question] == []

    def test_one_is_printed_and_copied(self, tmp_path, capsys):
        text = (ROOT / "configs" / "image" / "rotation.yaml").read_text()
        assert out_of(capsys, "configs", "image/rotation") == text
        mine = tmp_path / "mine.yaml"
        assert f"pretext fit -c {mine}" in out_of(capsys, "configs", "image/rotation", "--copy", str(mine))
        assert mine.read_text() == text
        mine.write_text("mine\n")
        assert main(["configs", "image/rotation", "--copy", str(mine)]) == 1
        assert mine.read_text() == "mine\n"

    @pytest.mark.parametrize(
        ("name", "like"),
        [("rotaion", "image/rotation"), ("image/rotatoin", "image/rotation"), ("vcop", "video/vcop"), ("zzz", None)],
    )
    def test_a_misspelt_name_is_guessed_by_its_last_part_or_whole(self, name, like):
        assert like_config(name) == like

    def test_a_config_where_a_run_or_a_suite_belongs(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        for verb, name in (("fit", "rotation"), ("bench", "image/rotation")):
            assert main([verb, name]) == 1
            said = capsys.readouterr().err
            assert "pretext fit -c image/rotation" in said
            assert said.count("\n") == 1

    def test_it_trains_and_is_shown_by_its_name(self, tmp_path, monkeypatch, capsys):
        images = labelled_folder(tmp_path / "images")
        monkeypatch.chdir(tmp_path)
        assert main(["show", "-c", "image/rotation", "--data.root", str(images), "--count", "2"]) == 0
        assert (tmp_path / "puzzles.png").is_file()


class TestLists:
    @pytest.mark.parametrize(
        ("verb", "known"),
        [
            ("tasks", {f"pretext.{name}" for name in tasks.__all__}),
            ("backbones", {f"pretext.{name}" for name in backbones.__all__}),
            (
                "data",
                {f"datamodules.{name}" for name in datamodules.__all__ if hasattr(getattr(datamodules, name), "open")},
            ),
        ],
    )
    def test_every_class_has_a_line(self, verb, known, capsys):
        lines = out_of(capsys, verb).splitlines()
        assert {line.split()[0] for line in lines} == known - {"datamodules.DataModule"}
        assert all(len(line.split("  ", 1)[1].strip()) > 20 for line in lines)

    def test_a_task_has_its_paper_its_needs_and_what_was_measured(self, capsys):
        (line,) = (line for line in out_of(capsys, "tasks").splitlines() if line.startswith("pretext.Rotation "))
        for said in ("which way is up?", "needs images", "1803.07728", "image/rotation: rotation accuracy 64.4"):
            assert said in line

    def test_a_task_is_told_by_its_config_on_pictures_and_data_by_all_that_they_need(self, capsys):
        lines = {line.split()[0]: line for verb in ("tasks", "data") for line in out_of(capsys, verb).splitlines()}
        assert "image/contrast: after" in lines["pretext.Contrast"]
        for name, needed in (("Pairs", "source"), ("Episodes", "data"), ("Generated", "generator")):
            assert f"needs --data.{needed}" in lines[f"datamodules.{name}"]
        assert "needs nothing" in lines["datamodules.Digits"]

    def test_what_a_class_takes_is_what_its_constructor_takes(self):
        for one in [*catalogue.tasks(), *catalogue.backbones(), *catalogue.data()]:
            package, name = one.name.split(".")
            built = getattr({"pretext": pretext, "datamodules": datamodules}[package], name)
            code = inspect.unwrap(built.__init__).__code__
            taken = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            assert tuple(option.name for option in one.options) == taken, name
            assert built.__doc__.splitlines()[0] == one.about
            for option in one.options:
                assert option.about, f"{one.name} does not say what {option.name} is"

    def test_the_trainers_options_are_its_constructors(self):
        from inspect import signature

        from pytorch_lightning import Trainer

        assert catalogue.trainer_options() == list(signature(Trainer.__init__).parameters)[1:]

    def test_the_short_names_of_protocols_are_theirs(self):
        assert tuple(protocol.description.name for protocol in OURS) == EVERY

    def test_options_of_help_list_our_classes(self, capsys):
        assert "datamodules.ImageFolder" in out_of(capsys, "fit", "--data.help")
        assert "pretext.Jigsaw" in out_of(capsys, "fit", "--model.tasks.help")
        assert "pretext.NIN" in out_of(capsys, "fit", "-c", "image/rotation", "--model.backbone.help")
        assert "size  side of the canvas" in out_of(capsys, "fit", "--data.help", "datamodules.Digits")


class TestHelp:
    def test_that_of_fit_begins_with_ours_and_fits_two_screens(self):
        lines = help_of("fit").splitlines()
        assert len(lines) <= 80
        assert max(map(len, lines)) <= 120
        assert next(i for i, line in enumerate(lines) if "--model.backbone" in line) < 20
        assert "--help all" in lines[-1]
        assert len(set(filter(None, lines))) == len(list(filter(None, lines))), "a line stands twice"

    def test_that_of_a_search_is_ours_too(self, capsys):
        lines = out_of(capsys, "nas", "search", "--help").splitlines()
        assert len(lines) <= 80
        assert lines[0].startswith("usage: pretext nas search -c CONFIG | RUN")
        assert any("--model.architecture.lr X" in line for line in lines)
        assert "--help all" in lines[-1]

    def test_all_of_it_is_lightnings(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["fit", "--help", "all"])
        assert stop.value.code == 0
        everything = set(re.findall(r"--[a-z_.]+[a-z]", capsys.readouterr().out))
        ours = set(re.findall(r"--(?:model|trainer|checkpoint|stagnation|seed|ckpt)[a-z_.]+[a-z]", help_of("fit")))
        free = {"--model.tasks.turn", "--model.tasks.turn.turns", "--model.tasks.", "--model.optim.optimizer.lr"}
        assert {word for word in ours - free if not word.startswith("--model.tasks")} <= everything

    def test_verbs_answer_without_torch(self, tmp_path):
        """In a process of its own, which imports nothing but what the command line does."""
        (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")
        (tmp_path / "suite.yaml").write_text("boards: {}\n")
        (tmp_path / "broken.yaml").write_text("model: [\n")
        (tmp_path / "empty").mkdir()
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "config.yaml").write_text("model: {}\n")
        wrong = [
            ["nas", "search"],
            ["trian"],
            ["fit", "-c", "nowhere.yaml"],
            ["fit", "-c", "photo.jpg"],
            ["fit", "-c", "suite.yaml"],
            ["fit", "-c", "image/rotation"],
            ["fit", "-c", "image/rotation", "--data.root", "nowhere"],
            ["fit", "-c", "image/digits", "--trainer.max_step", "3"],
            ["fit", "-c", "image/digits", "--model.tasks.more", "pretext.Jigsav"],
            ["fit", "nowhere"],
            *([verb] for verb in ("fit", "validate", "test", "predict")),
            ["fit", "-c"],
            ["fit", "-c", "broken.yaml"],
            ["fit", "-c", "image/rotation", "--data.root", "empty"],
            ["fit", "-c", "image/digits", "--data.sise", "16"],
            ["fit", "-c", "image/digits", "--model.optim.optimizer", "AdamX"],
            ["fit", "-c", "image/digits", "--data", "datamodule.Photos"],
            ["probe", "there", "--data", "datamodules.Digit"],
            ["probe", "there", "--data", "datamodules.Photos", "--data.root", "no"],
            ["bench", str(ROOT / "configs" / "image" / "rotation.yaml")],
            *(
                [verb, "nowhere"]
                for verb in ("validate", "show", "probe", "compare", "export", "cluster", "report", "runs", "bench")
            ),
        ]
        code = f"""
import sys
from pretext.__main__ import VERBS, main
for verb in VERBS:
    for words in ([verb, "--help"],) if verb != "completion" else ([verb, "--help"], [verb, "bash"]):
        try:
            assert main(words) == 0, words
        except SystemExit as stop:
            assert stop.code == 0, words
lists = [[verb] for verb in ("configs", "tasks", "data", "backbones")]
for words in (["nas", "search", "--help"], *lists, ["runs", {MADE!r}], ["--help"], ["--version"]):
    assert main(words) == 0, words
for words in {wrong!r}:
    assert main(words) == 1, words
slow = ("torch", "pytorch_lightning", "jsonargparse", "omegaconf", "numpy", "rich", "datamodules")
print([name for name in slow if name in sys.modules])
"""
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert ended.stdout.splitlines()[-1:] == ["[]"], ended.stderr[-2000:]
        assert len(ended.stderr.strip().splitlines()) == len(wrong)


class TestCompletion:
    def completed(self, *words):
        """Ask a real bash."""
        ask = f'COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _pretext; echo "${{COMPREPLY[@]}}"'
        ended = subprocess.run(["bash", "-c", f"{script('bash')}\n{ask}"], capture_output=True, text=True, check=True)
        return ended.stdout.split()

    def test_verbs_configs_and_options(self):
        assert self.completed("pretext", "ev") == ["evolve"]
        assert self.completed("pretext", "fit", "-c", "image/jig") == ["image/jigsaw"]
        assert self.completed("pretext", "fit", "-c", "image/digits", "--trainer.max_s") == ["--trainer.max_steps"]
        assert self.completed("pretext", "export", "run", "--t") == ["--to"]

    def test_zsh_takes_the_same_by_its_own_bridge(self):
        assert script("zsh").splitlines()[1] == "autoload -U +X bashcompinit && bashcompinit"
        assert script("zsh").splitlines()[2:] == script("bash").splitlines()[1:]

    def test_every_verb_is_completed(self):
        assert set(self.completed("pretext", '""')) == set(VERBS)
