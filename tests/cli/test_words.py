"""What the command line says: what comes next, what was meant, what is odd, and nothing that nobody can use."""

import re
from pathlib import Path

import pytest
import torch
from folders import labelled_folder
from nets import TinyNet
from PIL import Image

from pretext.__main__ import main
from pretext.cli import preflight
from pretext.cli.parser import one_line
from pretext.training.callbacks.online import _said
from pretext.training.callbacks.progress import as_table
from pretext.training.callbacks.questions import questions
from pretext.training.callbacks.record import counted
from pretext.verbs.looking import PAGE, _pages

TINY = """
model:
  backbone: {class_path: nets.TinyNet}
  tasks: {turn: {class_path: pretext.Rotation}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16, split: {limit: 64}}}
trainer: {max_steps: 2, max_epochs: -1, limit_val_batches: 1, log_every_n_steps: 1, accelerator: cpu}
"""


class Pressed(TinyNet):
    """A network that is looked at while somebody presses Ctrl-C."""

    def forward(self, x):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture(autouse=True)
def there(home, monkeypatch):
    monkeypatch.chdir(home)


def told(capsys, *words, code=0):
    assert main(list(words)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


class TestNext:
    """Every verb ends with what it wrote and what comes next. In the order in which a user takes them."""

    def test_fit(self, capsys):
        out = told(capsys, "fit", "-c", "tiny.yaml")
        run = "runs/tiny/0"
        assert out.splitlines()[-1] == f"run: {run}, step 2; look: pretext show {run}; measure: pretext probe {run}"
        assert main(["fit", run]) == 0
        captured = capsys.readouterr()
        (line,) = captured.out.splitlines()
        assert line.startswith(f"nothing to do: {run} is finished, at step 2; pretext fit {run} ")
        assert captured.err == ""

    def test_a_copy_of_a_run(self, capsys):
        out = told(capsys, "fit", "-c", "runs/tiny/0/config.yaml", "--name", "copy")
        assert out.splitlines()[-1].startswith("run: runs/tiny/copy, step 2; ")

    def test_of_a_run(self, capsys):
        run = "runs/tiny/0"
        for words, last in (
            (("show", run), f"look: {run}/puzzles.png; measure: pretext probe {run}"),
            (("validate", run), f"a page of the run: pretext report {run}"),
            (("report", run), f"look: {run}/report.html"),
        ):
            assert told(capsys, *words).splitlines()[-1] == last
        out = told(capsys, "probe", run, "--protocols", "knn").splitlines()[-1]
        assert out.startswith(f"wrote {run}/probe.json and probe.png; a page: pretext report {run}; side by side: ")
        out = told(capsys, "export", run, "--to", "safetensors")
        assert out.startswith(f"{run}/backbone.safetensors: ")
        assert "load_file" in out
        out = told(capsys, "compare", run)
        assert out.splitlines()[-1] == "as a page: add --out FILE.html"
        assert out.count("Digits") == 1
        assert "Skill" not in out
        told(capsys, "compare", run, "--out", "page.html")
        board = re.search(r"<section id=.board-0.>.*?</table>", Path("page.html").read_text(), re.DOTALL)[0]
        assert board.count("Digits") == 1
        assert "Skill" not in board
        assert board.count("train items") == 1

    def test_show_of_a_config(self, capsys):
        out = told(capsys, "show", "-c", "tiny.yaml", "--out", "asked.png")
        assert out.splitlines()[-1] == "look: asked.png; train: pretext fit -c tiny.yaml"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("runs/image/rotaton/0", "runs/image/rotation/0"),
        ("runs/image/rotation/1", "runs/image/rotation/0"),
        ("image/rotation", "runs/image/rotation"),
        ("runs/smal", "runs/small"),
    ],
)
def test_of_a_misspelt_run(said, meant, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for run in ("image/rotation/0", "small"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "config.yaml").write_text("model: {}\n")
    for verb in ("fit", "show", "report"):
        assert f"; did you mean {meant}? `pretext runs` lists" in told(capsys, verb, said, code=1)
    assert "mean" not in told(capsys, "fit", "else", code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "-c", "tiny.yaml", "--model.tasks.trun.turns", "one"], "no task trun, but turn; did you mean turn?"),
        (["fit", "-c", "tiny.yaml", "--model.tasks.more", "pretext.Jigsav"], "did you mean pretext.Jigsaw?"),
        (["fit", "-c", "tiny.yaml", "--model.tasks.more", "Jigsaw"], "did you mean pretext.Jigsaw?"),
        (["fit", "-c", "tiny.yaml", "--data", "pretext.ImageFolder"], "did you mean datamodules.ImageFolder?"),
        (
            ["fit", "-c", "tiny.yaml", "--trainer.max_step", "3"],
            "did you mean --trainer.max_steps?",
        ),
        (["fit", "-c", "image/rotaton"], "did you mean image/rotation?"),
        (["fit", "-c", "image/rotation"], "the config's folder of data, images, is not here: add --data.root DIR"),
        (["fit", "-c", "image/rotation", "--data.root", "no"], "--data.root no: there is no such folder"),
        (["fit", "-c", "photo.jpg"], "photo.jpg is a picture; -c takes a config"),
        (["fit", "-c", "data/esc10"], "describes data; give it to --data"),
        (["bench", "tiny.yaml"], "train it with pretext fit -c tiny.yaml"),
        (["fit", "-c", "suite.yaml"], "suite.yaml is a benchmark: pretext bench suite.yaml"),
        (["prob"], "unknown verb 'prob', did you mean probe"),
        (["tasks", "Rotatoin"], "did you mean Rotation?"),
        (["fit", "-c", "tiny.yaml", "--data", "datamodule.Photos"], "did you mean datamodules.Photos?"),
        (["fit", "-c", "tiny.yaml", "--data", "Photo"], "did you mean datamodules.Photos? See `pretext data`"),
        (["fit", "-c", "tiny.yaml", "--trainer.callbacks+", "pretext.callbacks.Onlin"], "pretext.callbacks.Online?"),
        (["fit", "-c", "tiny.yaml", "--model.optim.optimizer", "AdamX"], "did you mean torch.optim.Adam"),
        (["fit", "-c", "tiny.yaml", "--data.sise", "16"], "did you mean --data.size? `pretext data Digits` lists"),
        (["fit", "-c", "tiny.yaml", "--data.split.limt", "16"], "did you mean --data.split.limit?"),
        (["fit", "-c", "tiny.yaml", "--model.tasks.turn.truns", "one"], "did you mean --model.tasks.turn.turns?"),
        (["fit", "-c", "tiny.yaml", "--model.task.x", "pretext.Jigsaw"], "did you mean --model.tasks?"),
        (["fit", "-c", "tiny.yaml", "--mdel.tasks.x", "pretext.Jigsaw"], "did you mean --model.tasks.x?"),
        (["fit", "-c", "tiny.yaml", "--model.optim.warmpu", "0"], "did you mean --model.optim.warmup?"),
        (
            ["fit", "-c", "misspelt.yaml"],
            "misspelt.yaml: model.tasks.turn.trun: Option 'trun' is not accepted by pretext",
        ),
        (["fit", "-c", "image/digits", "--model.backbone.nam", "x"], "`pretext backbones TorchVision` lists them"),
        (["probe", "there", "--data", "datamodules.Digit"], "did you mean datamodules.Digits?"),
        (["probe", "there", "--data.sise", "16"], "did you mean --data.size?"),
        *(
            (
                [verb, "there", "--data", "datamodules.ImageFolder", "--data.root", "no"],
                "--data.root no: there is no such",
            )
            for verb in ("fit", "validate", "show", "probe", "cluster")
        ),
        (
            ["probe", "--backbone", "nets.TinyNet", "--data", "datamodules.Photos", "--data.root", "no"],
            "no such folder",
        ),
        (["fit", "-c", "image/rotation", "--data.root", "empty"], "the folder of data, empty, is empty"),
        (["fit"], "give a config, pretext fit -c CONFIG, or a run to go on with, pretext fit RUN"),
        *(([verb], f"give a run before any option: pretext {verb} RUN") for verb in ("validate", "test", "predict")),
        (["fit", "-c", "tiny.yaml", "--ckpt_path", "no.ckpt"], "--ckpt_path no.ckpt: there is no such file; `last`"),
        (["bench", "list.yaml"], "list.yaml is a list; a config is a mapping"),
        (["nas", "search"], "give a config, pretext nas search -c CONFIG"),
        (["nas", "search", "-c", "nas/darts", "--data.root", "no"], "--data.root no: there is no such folder"),
        (["fit", "-c", "tiny.yaml", "--name", "a", "--trainer.default_root_dir", "b"], "both say where the run goes"),
        (["fit", "-c"], "-c wants a config behind it"),
        (["fit", "-c", "broken.yaml"], "broken.yaml is no YAML of plain data: while parsing"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_what_was_meant(words, said, capsys):
    Image.new("RGB", (8, 8)).save("photo.jpg")
    Path("suite.yaml").write_text("boards: {}\n")
    Path("misspelt.yaml").write_text(TINY.replace("pretext.Rotation", "pretext.Rotation, init_args: {trun: one}"))
    Path("broken.yaml").write_text("model: {backbone: [\n")
    Path("list.yaml").write_text("- boards\n")
    Path("empty").mkdir(exist_ok=True)
    (Path("there") / "checkpoints").mkdir(parents=True, exist_ok=True)
    (Path("there") / "config.yaml").write_text(TINY)
    (Path("there") / "checkpoints" / "last.ckpt").touch()
    (line,) = told(capsys, *words, code=1).splitlines()
    assert said in line


def test_a_logger_whose_library_is_missing_is_told_by_our_extra(monkeypatch, capsys):
    found = preflight.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name in ("wandb", "mlflow") else found(name))
    for name, extra in (("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")):
        words = ("--trainer.logger", f"pytorch_lightning.loggers.{name}")
        (line,) = told(capsys, "fit", "-c", "tiny.yaml", *words, code=1).splitlines()
        assert line.endswith(f"{name} needs the library {extra}: pip install 'pretext-tasks[{extra}]'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("probe", "--backbone", "test_words.Pressed", "--data", "datamodules.Digits"), "what was embedded is kept"),
        (("evolve", "-c", "pressed.yaml", "--steps", "1", "--candidates", "1"), "finished candidates are kept"),
        (("fit", "-c", "pressed.yaml"), ""),
    ],
)
def test_ctrl_c_is_told_in_one_line(words, said, capsys):
    Path("pressed.yaml").write_text(TINY.replace("nets.TinyNet", "test_words.Pressed"))
    if not said:
        with pytest.raises(SystemExit):  # Lightning's
            main(list(words))
        assert not Path("runs/pressed").exists()
        return
    err = told(capsys, *words, code=130)
    assert err.splitlines()[-1] == f"pretext {words[0]}: interrupted; {said}: the same command goes on"
    assert "Traceback" not in err


class TestOddities:
    def test_no_step(self, capsys):
        assert main(["fit", "-c", "tiny.yaml", "--trainer.max_steps", "0", "--name", "none"]) == 0
        captured = capsys.readouterr()
        assert "max_steps is 0, so no step is taken. Was more meant?" in captured.err
        assert captured.out.splitlines()[-1] == "no step was taken, so no run was made"
        assert not Path("runs/tiny/none").exists()

    def test_one_item_and_pictures_of_two_pixels(self):
        x = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
        asked = list(questions({"x": x, "index": torch.arange(1)}, 1))
        assert [re.search(r"one item|2 px", question)[0] for question in asked] == ["one item", "2 px"]
        fine = {"x": {"rgb": torch.zeros(4, 3, 8, 32, 32), "audio": torch.zeros(4, 1, 7)}, "index": torch.arange(4)}
        assert list(questions(fine, 1)) == []
        assert list(questions((x, 1), 1)) == []  # what is no batch of ours

    def test_one_file_of_two_pixels(self, capsys):
        """It is resized to the canvas before a batch is made of it. Its validation has nothing to say."""
        Path("pixels").mkdir()
        for name in ("a", "b"):  # one to test on
            Image.new("RGB", (2, 2)).save(f"pixels/{name}.png")
        data = ("--data", "datamodules.Photos", "--data.root", "pixels", "--data.canvas", "16")
        assert main(["fit", "-c", "tiny.yaml", "--name", "pixels", *data, "--data.split.test", "0.5"]) == 0
        err = capsys.readouterr().err
        assert "pretext: there is one item to train on" in err
        assert "pretext: the files' pictures are 2 px wide or high" in err
        assert "" not in err.splitlines()

    def test_files_that_cannot_be_read_are_counted(self, capsys):
        root = labelled_folder(Path("images"))
        for name in ("a.jpg", "b.jpg"):
            (next(file for file in root.iterdir() if file.is_dir()) / name).write_bytes(b"no picture")
        data = ("--data", "datamodules.Photos", "--data.root", str(root), "--data.canvas", "16")
        data += ("--data.reading.max_bad", "0.5")
        out = told(capsys, "fit", "-c", "tiny.yaml", "--name", "files", *data, "--trainer.max_epochs", "2")
        lines = Path("runs/tiny/files/skipped.txt").read_text().splitlines()
        assert f"{len(lines)} file{'s' * (len(lines) > 1)} could not be read, or only in part: " in out.splitlines()[-2]


class TestFigures:
    def test_a_few_are_a_line_and_many_a_table(self):
        assert as_table({"val/turn/loss": 1.25, "val/loss": 1.25}) == "val/turn/loss 1.2500  val/loss 1.2500"
        many = {f"val/{task}/{score}": 0.5 for task in ("a", "position") for score in ("loss", "accuracy", "rank")}
        assert as_table({**many, "val/loss": 10.0}).splitlines() == [
            "val/a         loss 0.5000   accuracy 0.5000  rank 0.5000",
            "val/position  loss 0.5000   accuracy 0.5000  rank 0.5000",
            "val           loss 10.0000",
        ]

    def test_small_networks_have_parameters(self):
        assert [counted(n) for n in (0, 4_520, 999_999, 11_180_000)] == ["0", "4,520", "999,999", "11.2 M"]

    def test_what_online_measured_is_said(self):
        figures = {"layer4/knn": 0.5312, "layer4/rankme": 33.21, "held_out": 1000, "seconds": 2.5}
        assert _said(figures) == "layer4 knn 0.531, rankme 33.2; held_out 1000, seconds 2.5"

    def test_many_tasks_are_drawn_on_several_pictures(self):
        names = [f"task{k}" for k in range(2 * PAGE + 1)]
        pages = list(_pages(names, Path("run/puzzles.png")))
        assert [str(page) for _, page in pages] == ["run/puzzles.png", "run/puzzles-2.png", "run/puzzles-3.png"]
        assert [name for named, _ in pages for name in named] == names


def test_what_a_parser_says_of_its_own_types_is_left_out():
    """A wrong option of a part of a part, as jsonargparse tells it."""
    told = """Does not validate against any of the Union subtypes
Subtypes: [<class 'Host'>, <class 'NoneType'>]
Errors:
  - Does not validate against any of the Union subtypes
    Subtypes: [<class 'Learner'>, <class 'NoneType'>]
    Errors:
      - MAML: steps=0; give 1 or more
      - Expected a <class 'NoneType'>
    Given value type: <class 'Namespace'>
    Given value: Namespace(class_path='pretext.MAML')
  - Expected a <class 'NoneType'>"""
    assert one_line(ValueError(told)) == "MAML: steps=0; give 1 or more"
