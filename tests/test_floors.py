"""The floors of the house: a room imports from lower floors and from itself, never from beside or above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "pretext"
FLOORS = {
    0: ["core", "ops", "_moved"],
    1: ["nn", "views", "backbones"],
    2: ["tasks", "evaluation", "testing"],
    3: ["training", "supervised"],
    4: ["jobs", "audit"],
    5: ["search", "transfer", "benchmark"],
    6: ["report"],
    7: ["verbs"],
    8: ["cli", "__main__"],
    9: ["__init__", "callbacks", "_shown"],  # the public names of all floors
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
BESIDE = {  # room -> what it may import of its own floor
    "ops": ["core"],
    "supervised": ["training"],  # evaluators load runs
    "audit": ["jobs"],  # what is finished is not done again
    "testing": ["tasks"],
    "__main__": ["cli"],
    "__init__": ["_shown"],
}
FACES = ("report", "verbs", "cli", "__main__")
ABSTRACT = {  # what only some rooms know by more than its abstract type
    "pretext.tasks": ("tasks", "__init__"),
    "pretext.evaluation.protocols": ("evaluation", "__init__"),
}
TAGS = "a|b|body|br|button|circle|code|d[dlt]|details|div|em|figure|g|h[1-6]|head|html|i|img|li|main|p|path|pre|rect|"
TAGS += "script|section|span|strong|style|sub|summary|sup|svg|table|tbody|t[dhr]|text|thead|title|ul|wbr"
MARKUP = re.compile(rf"</?(?:{TAGS})(?:\s[^<>]*)?/?>")
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")
FILES = sorted(HOUSE.rglob("*.py"))


def imported(file):
    """Yield every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module == "pretext":
                yield from (f"pretext.{name.name}" for name in node.names if name.name != "__version__")
            else:  # a name may be a module of a package
                path = ROOT / Path(*node.module.split("."))
                for name in node.names:
                    inside = (path / f"{name.name}.py").exists() or (path / name.name).is_dir()
                    yield f"{node.module}.{name.name}" if inside else node.module


def room(file):
    return file.relative_to(HOUSE).with_suffix("").parts[0]


def test_every_room_has_a_floor():
    assert {room(file) for file in FILES} <= set(FLOOR_OF)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_imports_only_from_lower_floors(file):
    mine = room(file)
    for module in imported(file):
        top, *rest = module.split(".")
        assert top != "datamodules", f"{file}: pretext takes data modules by class path alone"
        if top in LIGHTNING:
            assert FLOOR_OF[mine] >= 3, f"{file}: Lightning from floor 3 up"
        if top == "pretext" and rest and rest[0] != mine:
            lower = FLOOR_OF[rest[0]] < FLOOR_OF[mine] or rest[0] in BESIDE.get(mine, ())
            assert lower, f"{file} (floor {FLOOR_OF[mine]}) imports {module} (floor {FLOOR_OF[rest[0]]})"
        for package, rooms in ABSTRACT.items():
            if module.startswith(f"{package}."):
                assert mine in rooms, f"{file} imports {module}; it is known by its abstract type alone"


@pytest.mark.parametrize("package", ["tasks", "evaluation/protocols"])
def test_siblings_do_not_know_one_another(package):
    for file in (HOUSE / package).rglob("*.py"):
        if file.stem != "__init__":
            path = f"pretext.{package.replace('/', '.')}."
            assert not [m for m in imported(file) if m.startswith(path)], file


def test_no_procedure_knows_a_face():
    """A procedure returns results; faces draw them."""
    faces = tuple(f"pretext.{face}" for face in FACES)
    for file in (file for file in FILES if FLOOR_OF[room(file)] < 6):
        assert not [module for module in imported(file) if module.startswith(faces)], file


def test_markup_stands_in_the_report_alone():
    for file in FILES:
        if room(file) != "report":
            assert not MARKUP.search(file.read_text()), file
            assert not [m for m in imported(file) if m.split(".")[0] in ("jinja2", "markupsafe", "html")], file


def test_data_modules_know_nothing_of_pretext():
    for file in (ROOT / "datamodules").rglob("*.py"):
        assert not [m for m in imported(file) if m.split(".")[0] == "pretext"], file
