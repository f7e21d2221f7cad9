"""The floors of the house: a file imports what lies below it, never beside or above."""

import ast
from pathlib import Path

import pytest

import pretext

ROOT = Path(__file__).parents[1]
FLOORS = {
    0: ["types", "rng", "moves", "tiles", "colour", "gamut", "resample", "moments", "film", "mel"],
    1: ["augment", "losses", "weighting", "teachers", "backbones", "heads", "adversary", "rebalance", "decoder"],
    2: ["tasks", "evaluation"],
    3: ["host", "module", "callbacks", "testing"],
    4: ["run", "evaluators", "commands", "evolution", "__main__"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
FILES = sorted((ROOT / "pretext").rglob("*.py"))


def imported(file):
    """Yield every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module == "pretext":  # the package offers names of every floor
                yield from (pretext._HOME_OF.get(name.name, f"pretext.{name.name}") for name in node.names)
            else:
                yield node.module


def room(module):
    name = module.split(".")[1] if "." in module else None
    return None if name == "__version__" else name


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_imports_only_from_lower_floors(file):
    parts = file.relative_to(ROOT / "pretext").with_suffix("").parts
    if parts == ("__init__",):
        return  # the public names of all floors
    mine = FLOOR_OF[parts[0]]
    for module in imported(file):
        top = module.split(".")[0]
        assert top != "datamodules", f"{file}: pretext takes data modules by class path alone"
        if top in ("pytorch_lightning", "lightning", "lightning_fabric"):
            assert mine >= 3, f"{file}: Lightning from floor 3 up"
        if top == "pretext" and room(module):
            theirs = FLOOR_OF[room(module)]
            inside = room(module) == parts[0]  # a package's own files
            # Pure moves and commands may share; the host is what the modules of its floor derive from.
            beside = theirs == mine and (mine in (0, 4) or room(module) == "host")
            assert theirs < mine or inside or beside, f"{file} (floor {mine}) imports {module} (floor {theirs})"
        if room(module) == "tasks":
            assert parts[0] in ("tasks", "commands", "__main__"), (
                f"{file}: tasks are known by their abstract type alone"
            )


def test_tasks_do_not_know_one_another():
    for file in (ROOT / "pretext" / "tasks").glob("*.py"):
        if file.stem != "__init__":
            assert not [m for m in imported(file) if m.startswith("pretext.tasks")], file


def test_data_modules_know_nothing_of_pretext():
    for file in (ROOT / "datamodules").rglob("*.py"):
        assert not [m for m in imported(file) if m.split(".")[0] == "pretext"], file
