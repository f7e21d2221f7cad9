"""What is installed: the wheel in an environment of its own, away from the checkout; and who else has the name."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import datamodules
import pretext
import pretext_tasks
from pretext.__main__ import main
from pretext.cli import named_classes
from pretext.core.catalogue import DATA

ROOT = Path(__file__).parents[1]


def ran(*words, cwd):
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=cwd)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from a copy, as setuptools leaves a folder where it builds."""
    source, out = tmp_path_factory.mktemp("source") / "clone", tmp_path_factory.mktemp("wheel")
    ran("git", "clone", "-q", ROOT, source, cwd=out)
    ran(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source, cwd=out)
    (file,) = out.glob("*.whl")
    return source, file


def environment(folder, *install):
    """Make an environment that sees this one's packages, but not this checkout, and install something into it."""
    ran(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    site = Path(ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not read
    options = ["install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    ran(sys.executable, "-m", "pip", "--python", python, *options, *install, cwd=folder)
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_alone_trains_a_packaged_config_and_writes_its_page(wheel, tmp_path):
    inside = zipfile.ZipFile(wheel[1]).namelist()
    for file in (
        "pretext/py.typed",
        "datamodules/py.typed",
        "pretext/__init__.pyi",
        "pretext/report/templates/run.html",
    ):
        assert file in inside
    configs = {f"pretext/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")}
    assert configs <= set(inside)
    assert {name.split("/")[0] for name in inside if "dist-info" not in name} == {
        *("pretext", "datamodules", "pretext_tasks.py")
    }
    bin = environment(tmp_path / "env", wheel[1])
    home = tmp_path / "home"
    (home / "datamodules").mkdir(parents=True)  # a folder that is no package hides nothing
    (home / "pretext").mkdir()
    (home / "script.py").write_text("import pretext, datamodules\nprint(pretext.Rotation, datamodules.Digits)\n")
    assert "datamodules.images.digits.Digits" in ran(bin / "python", "script.py", cwd=home)
    assert ran(bin / "pretext-tasks", "--version", cwd=home).strip() == pretext.__version__
    assert "image/rotation" in ran(bin / "pretext", "configs", cwd=home)
    words = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu"]
    ran(bin / "pretext", "fit", "-c", "image/digits", *words, cwd=home)
    ran(bin / "pretext", "report", "runs/image/digits", cwd=home)
    assert "<html" in (home / "runs" / "image" / "digits" / "0" / "report.html").read_text()


@pytest.mark.slow
def test_a_script_beside_a_clone_that_is_installed_gets_the_package(wheel, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    ran("git", "clone", "-q", wheel[0], home / "pretext", cwd=home)
    bin = environment(tmp_path / "env", "-e", home / "pretext")
    (home / "script.py").write_text("import pretext\nprint(pretext.Rotation)\n")
    assert "Rotation" in ran(bin / "python", "script.py", cwd=home)


def test_a_package_of_another_project_is_named(tmp_path):
    """In a process of its own, in which another package called pretext is found first."""
    other = tmp_path / "pretext"
    other.mkdir()
    (other / "__init__.py").write_text("VERSION = 'a textbook'\n")
    paths = [str(tmp_path), str(ROOT)]
    code = f"import sys; sys.path[:0] = {paths}; import pretext_tasks; sys.exit(pretext_tasks.main())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 1
    assert str(other / "__init__.py") in ended.stderr
    assert "pip install --force-reinstall --no-deps pretext-tasks" in ended.stderr


def test_this_package_is_ours():
    assert pretext_tasks.is_ours(pretext)


class TestHidden:
    @pytest.fixture(autouse=True)
    def anew(self):
        named_classes._check_place.cache_clear()
        yield
        named_classes._check_place.cache_clear()

    def test_a_package_of_the_users_that_hides_ours_is_named_with_ours(self, tmp_path, monkeypatch, capsys):
        mine = tmp_path / "datamodules"
        mine.mkdir()
        (mine / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, "datamodules")
        monkeypatch.syspath_prepend(tmp_path)
        assert main(["fit", "-c", "image/digits"]) == 1
        told = capsys.readouterr().err
        assert str(mine) in told
        assert str(DATA) in told

    def test_one_that_ours_hides_is_named_where_its_class_is_not_found(self, tmp_path, monkeypatch, capsys):
        mine = tmp_path / "datamodules"
        mine.mkdir()
        (mine / "__init__.py").write_text("class Mine: ...\n")
        monkeypatch.chdir(tmp_path)
        assert main(["fit", "-c", "image/digits", "--data", "datamodules.Mine"]) == 1
        told = capsys.readouterr().err
        assert "there is no class datamodules.Mine" in told
        assert str(mine) in told
        assert str(Path(datamodules.__file__).parent) in told
