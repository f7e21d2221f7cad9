"""What an accelerator is asked: parts share the time, answers are kept, and a dry run asks everything."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # last: no script there hides a library or a file of these tests

import gpu  # noqa: E402
from gpu_parts import contract, elo, rotnet, simclr  # noqa: E402
from gpu_parts.photos import make_photos, picture  # noqa: E402
from gpu_parts.setting import Setting  # noqa: E402
from schedule import Book, Clock, Part, Question, work  # noqa: E402

from pretext import tasks  # noqa: E402
from pretext.benchmark.reproduce import CONFIGS  # noqa: E402
from pretext.core.rng import rng  # noqa: E402
from pretext.core.tree import leaves  # noqa: E402
from pretext.training.run import build_data  # noqa: E402

FACTS = {"about": {"device": "an accelerator"}, "start": {"command": "first"}}


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self, left):
        self.now, self.clock = 0.0, Clock(left, lambda: self.now)

    def takes(self, seconds, answer=None):
        def ask(clock, before):
            self.now += seconds
            if isinstance(answer, Exception):
                raise answer
            return {"left": clock.left(), **(answer or {})}

        return ask


def part(name, share, *questions, **options):
    return Part(name, f"about {name}", share, lambda: list(questions), lambda answers: [], **options)


def asked(file):
    """Which questions have been answered well."""
    content = json.loads(file.read_text())["parts"]
    return [name for each in content.values() for name, answer in each["answers"].items() if "error" not in answer]


def test_parts_share_the_time_and_what_one_leaves_is_for_the_others(tmp_path):
    time, said = Time(100), []
    quick = part("quick", 1, Question("q", time.takes(10)))
    long = part("long", 2, Question("l", time.takes(5)))
    last = part("last", 1, Question("z", time.takes(1)))
    book = Book(tmp_path / "gpu.json", FACTS)
    work([quick, long, last], book, time.clock, said.append)
    left = {
        name: book.answers(name)[question]["left"] for name, question in (("quick", "q"), ("long", "l"), ("last", "z"))
    }
    assert left == {"quick": 100 / 4 - 10, "long": 90 * 2 / 3 - 5, "last": 85 - 1}
    assert [book.state(name) for name in ("quick", "long", "last")] == ["done"] * 3


def test_what_has_too_little_time_is_skipped_with_a_line_and_asked_by_the_next_start(tmp_path):
    time, said = Time(10), []
    parts = [part("one", 1, *(Question(name, time.takes(4), least=5) for name in "abc"))]
    work(parts, Book(tmp_path / "gpu.json", FACTS), Time(4).clock, said.append)
    assert asked(tmp_path / "gpu.json") == []
    assert "a skipped, time is short (4 s left, 5 wanted); 3 not asked" in said[1]
    work(parts, Book(tmp_path / "gpu.json", FACTS), time.clock, said.append)
    assert asked(tmp_path / "gpu.json") == ["a", "b"]  # of ten seconds two are left
    work(parts, Book(tmp_path / "gpu.json", FACTS), Time(10).clock, said.append)
    assert asked(tmp_path / "gpu.json") == ["a", "b", "c"]
    assert len(json.loads((tmp_path / "gpu.json").read_text())["starts"]) == 3


def test_parts_that_are_done_are_not_asked_again(tmp_path):
    calls, said = [], []
    parts = [part("one", 1, Question("a", lambda clock, before: calls.append(1) or {}))]
    for _ in range(2):
        work(parts, Book(tmp_path / "gpu.json", FACTS), Time(10).clock, said.append)
    assert calls == [1]
    assert said[-1] == "== one: done in an earlier start"


def test_a_part_that_fails_says_so_and_the_others_go_on(tmp_path):
    time, said, after = Time(10), [], []
    parts = [
        part("bad", 1, Question("a", time.takes(1, RuntimeError("out of\nmemory"))), Question("b", time.takes(1))),
        part("good", 1, Question("c", time.takes(1))),
    ]
    book = Book(tmp_path / "gpu.json", FACTS)
    work(parts, book, time.clock, said.append, lambda: after.append(book.state("bad")))
    assert asked(tmp_path / "gpu.json") == ["b", "c"]
    assert re.fullmatch(r"RuntimeError: out of memory \(test_gpu.py:\d+\)", book.answers("bad")["a"]["error"])
    assert (book.state("bad"), book.state("good"), after) == ("failed", "done", [None])
    assert not book.open("bad", "a")  # not twice in one start
    assert Book(tmp_path / "gpu.json", FACTS).open("bad", "a")  # but in the next one
    again = Book(tmp_path / "gpu.json", {**FACTS, "again": True})  # a process that takes another's place
    assert again.number == 2
    assert len(again.content["starts"]) == 2


def test_what_is_unfinished_goes_on_with_what_was_kept_and_holds_back_what_needs_it(tmp_path):
    seen = []

    def train(clock, before):
        seen.append(before)
        step = before.get("step", 0) + 5
        return {"epochs": 7, "step": step, **({"unfinished": True} if step < 10 else {})}

    parts = [part("long", 1, Question("train", train), Question("judge", lambda *unused: {}), ordered=True)]
    first, second = Book(tmp_path / "a.json", FACTS), None
    work(parts, first, Time(10).clock, lambda line: None)
    assert (first.state("long"), list(first.answers("long"))) == ("waits", ["train"])
    second = Book(tmp_path / "a.json", FACTS)
    work(parts, second, Time(10).clock, lambda line: None)
    assert (second.state("long"), list(second.answers("long"))) == ("done", ["train", "judge"])
    assert seen[0] == {}
    assert (seen[1]["epochs"], seen[1]["step"]) == (7, 5)


def test_answers_of_another_device_are_not_mixed(tmp_path):
    Book(tmp_path / "gpu.json", FACTS)
    with pytest.raises(ValueError, match="another folder with --out"):
        Book(tmp_path / "gpu.json", {**FACTS, "about": {"device": "another one"}})


def flat(config, path=()):
    """Name every leaf of a config by its path."""
    if not isinstance(config, dict):
        return {".".join(path): config}
    return {name: leaf for key, part in config.items() for name, leaf in flat(part, (*path, key)).items()}


@pytest.mark.parametrize(
    ("made", "file"),
    [
        (lambda setting: rotnet.rotation(setting, 50), "rotnet_cifar10.yaml"),
        (lambda setting: rotnet.judging(setting, "mlp", 50), "rotnet_cifar10_mlp.yaml"),
        (lambda setting: rotnet.judging(setting, "conv", 50), "rotnet_cifar10_conv.yaml"),
        (simclr.config, "simclr_cifar10.yaml"),
    ],
)
def test_what_is_published_is_trained_as_its_config_says_on_a_device_too(made, file, tmp_path):
    (tmp_path / "cifar10" / "train").mkdir(parents=True)
    ours = flat(made(Setting(tmp_path, tmp_path, False, 100)))
    theirs = flat(yaml.safe_load((CONFIGS / file).read_text()))
    assert theirs.keys() <= ours.keys()
    differs = {name for name in ours if ours[name] != theirs.get(name)}
    speed = {"trainer.precision", "trainer.enable_progress_bar", "checkpoint.every_n_steps"}
    assert differs - {"data.init_args.root", "trainer.max_epochs"} <= speed | {
        "model.execution.channels_last",
        "model.init_args.execution.channels_last",
        "model.init_args.run",
    }


def test_every_task_has_a_case():
    assert set(contract.CASES) == set(tasks.__all__)


@pytest.mark.parametrize("name", contract.CASES)
def test_every_case_has_a_task_that_can_be_posed(name):
    """A default that changes may want longer windows than a case has."""
    case = contract.CASES[name]
    puzzle = case.factory(case.backbone()).pose(case.x(), rng("cpu", "gpu"))
    assert list(leaves(puzzle.question))


def test_photos_are_the_same_wherever_they_are_made(tmp_path):
    folder = make_photos(tmp_path / "photos", 20, names=2)
    files = sorted(path for path in folder.rglob("*.jpg"))
    assert len(files) == 40
    assert len(list((folder / "train").rglob("*.jpg"))) == 36
    with Image.open(files[0]) as photo:
        assert photo.size == (500, 375)
    first = picture(3, (64, 48), "round")
    assert np.array_equal(first, picture(3, (64, 48), "round"))
    assert not np.array_equal(first, picture(4, (64, 48), "round"))


def ran(*command, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=1800)


def dry(out, *words):
    return ran(ROOT / "benchmarks" / "gpu.py", "--dry", "--out", out, *words)


FEW = {  # cheap ones
    "contract": ["Rotation"],
    "configs": ["image/rotation.yaml", "audio_visual/bouncing.yaml"],
    "steps": ["does nothing, 8 images"],
    "tasks": ["relative_position"],
    "loaders": ["CIFAR-10, 32 px"],
    "resume": ["a step"],
    "elo": ["50 steps"],
    "probe": ["pretext probe"],
    "rotnet": ["plan"],
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Ask these of one process without OpenCV, in which an import of torchaudio fails and leaves a file behind."""
    home = tmp_path_factory.mktemp("few")
    mark = f"import pathlib\npathlib.Path({str(home / 'torchaudio')!r}).touch()\nraise RuntimeError('not here')"
    for package, code in {"cv2": "raise ImportError('not here')", "torchaudio": mark}.items():
        (home / "hidden" / package).mkdir(parents=True)
        (home / "hidden" / package / "__init__.py").write_text(code)
    paths = os.pathsep.join([str(home / "hidden"), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = ran(ROOT / "tests" / "few.py", json.dumps(FEW), "--out", home / "gpu", PYTHONPATH=paths)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return home


@pytest.fixture(scope="module")
def answers(few):
    parts = json.loads((few / "gpu" / "gpu.json").read_text())["parts"]
    return {(name, key): answer for name, part in parts.items() for key, answer in part["answers"].items()}


def test_a_little_of_every_part_is_answered(answers):
    assert list(FEW) == PARTS
    assert set(answers) == {(name, key) for name, keys in FEW.items() for key in keys}
    assert not [key for key, answer in answers.items() if "error" in answer]


def test_what_needs_opencv_says_that_it_was_not_run(few, answers):
    flow = {("configs", "audio_visual/bouncing.yaml"), ("elo", "50 steps")}
    assert {key for key, answer in answers.items() if "not run" in answer} == flow
    assert all(answers[key]["not run"].startswith("OpenCV is not installed") for key in flow)
    said = (few / "gpu" / "gpu.md").read_text()
    assert "Not run: OpenCV is not installed" in said
    assert "- audio_visual/bouncing.yaml: not run: OpenCV is not installed" in said


def test_torchaudio_is_not_imported_where_there_is_no_sound(few, answers):
    """Not by all public names, nor by a training on images."""
    assert answers["configs", "image/rotation.yaml"]["loss"] > 0
    assert not (few / "torchaudio").exists()


def test_elo_is_given_options_that_its_data_has(tmp_path):
    data = build_data(elo.data(Setting(None, tmp_path, True, 100)))
    assert type(data).__name__ == "Bouncing"


@pytest.mark.slow
def test_a_dry_run_asks_everything_and_a_second_start_nothing(tmp_path):
    first = dry(tmp_path / "gpu")
    assert first.returncode == 0, first.stdout + first.stderr
    content = json.loads((tmp_path / "gpu" / "gpu.json").read_text())
    assert {name: part["state"] for name, part in content["parts"].items()} == dict.fromkeys(PARTS, "done")
    assert content["about"]["dry"] is True
    assert "says anything of an accelerator" in (tmp_path / "gpu" / "gpu.md").read_text()
    second = dry(tmp_path / "gpu")
    assert second.returncode == 0
    assert second.stdout.count("done in an earlier start") == len(PARTS)
    assert json.loads((tmp_path / "gpu" / "gpu.json").read_text())["parts"] == content["parts"]


PARTS = ["contract", "configs", "steps", "tasks", "loaders", "resume", "elo", "probe", "rotnet"]


def test_a_part_that_is_not_there_is_said_in_a_line(tmp_path, capsys):
    assert gpu.main(["--dry", "--out", str(tmp_path), "--only", "rotten"]) == 2
    told = capsys.readouterr().err.strip()
    assert told.endswith("there are contract, configs, steps, tasks, loaders, resume, elo, probe, rotnet, simclr")
