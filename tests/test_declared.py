"""What is imported is declared in pyproject.toml: as a dependency, or in an extra where functions alone import it."""

import ast
import re
import sys
import tomllib
from itertools import chain

import pytest
from oldest import PROJECT, floors

ROOT = PROJECT.parent
DECLARED = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
FILES = [file for folder in ("pretext", "datamodules") for file in sorted((ROOT / folder).rglob("*.py"))]
OURS = {"pretext", "datamodules", "pretext_tasks"}
CALLED = {  # module -> what is installed for it, where that has another name
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "lightning_fabric": "pytorch-lightning",  # one release holds both
    "markupsafe": "jinja2",  # which brings it
    "open_clip": "open_clip_torch",
    "pytorch_grad_cam": "grad-cam",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def plain(name):
    """Write a name as pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements):
    return {plain(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def imports(code):
    """Yield every package of others that a file imports, and whether that is inside something, such as a function."""
    for node in ast.walk(ast.parse(code)):
        modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        for package in {module.partition(".")[0] for module in modules} - OURS - sys.stdlib_module_names:
            yield package, node.col_offset > 0


def undeclared(code, always, extras):
    """Give what a file imports that is not installed with it; an extra serves what is inside a function."""
    found = ((package, plain(CALLED.get(package, package)), inside) for package, inside in imports(code))
    return {package for package, name, inside in found if name not in (always | extras if inside else always)}


def test_every_package_that_is_imported_is_declared():
    always = named(DECLARED["dependencies"])
    extras = named(chain.from_iterable(DECLARED["optional-dependencies"].values()))
    missing = {str(file.relative_to(ROOT)): undeclared(file.read_text("utf-8"), always, extras) for file in FILES}
    assert not {file: packages for file, packages in missing.items() if packages}


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("import torch, os.path\nfrom pretext.core import rng", set()),
        ("from yaml import safe_load", {"yaml"}),
        ("def f():\n    import yaml.nodes", {"yaml"}),
        ("def f():\n    import cv2", set()),
        ("import cv2", {"cv2"}),
    ],
)
def test_what_is_not_declared_is_found(code, missing):
    assert undeclared(code, {"torch"}, {"opencv-python-headless"}) == missing


def test_the_oldest_releases_are_those_of_the_lower_bounds():
    made = {"dependencies": ["av>=18,<20", "jsonargparse[signatures]>=4.49"], "optional-dependencies": {}}
    made["optional-dependencies"]["test"] = ["types-PyYAML", "pytest>=8", "pretext-tasks[flow]"]
    assert floors(made) == {"av": "18", "jsonargparse": "4.49", "pytest": "8"}


def test_every_dependency_has_a_lower_bound():
    assert named(DECLARED["dependencies"]) == {
        plain(name) for name in floors({**DECLARED, "optional-dependencies": {}})
    }
