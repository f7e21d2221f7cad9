"""What classes there are, and what they take, read from their source: importing them would take seconds.

So `pretext tasks` and `pretext fit --help` answer at once, in a checkout and when installed, and are never out of date.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
DATA = PACKAGE.parent / "datamodules"  # beside it in a checkout and when installed
URL = re.compile(r"https?://[^\s:;,)]+(?::[^\s;,)]+)?")


class Option(NamedTuple):
    """An argument of a class."""

    name: str
    kind: str
    """Its annotation, as it is written."""
    default: str | None
    """As it is written; None where it must be given."""
    about: str


class Class(NamedTuple):
    """A class."""

    name: str
    """As a config names it, such as `pretext.Rotation`."""
    about: str
    """The first line of its docstring."""
    module: str
    """The first line of its module's docstring."""
    options: tuple[Option, ...]
    folder: str
    """The folder of its file, such as "image"."""
    paper: str
    """The address of the first that its module names, or nothing."""

    @property
    def question(self) -> str:
        """What a task asks, in few words: what follows the paper in its module's docstring."""
        tail = self.module.rpartition(": ")[2]
        return tail if tail.endswith("?") else self.about


@cache
def public(package: str) -> dict[str, Path]:
    """Return the public names of `pretext` or `datamodules`, and the file that defines each."""
    root = PACKAGE if package == "pretext" else DATA
    return {name: file for name, file in _exports(root / "__init__.pyi", root).items() if name[0] != "_"}


@cache
def classes(package: str, below: str = "") -> list[Class]:
    """Describe the public classes of a package that are defined below a folder of it."""
    root = PACKAGE if package == "pretext" else DATA
    inside = {n: f for n, f in public(package).items() if f.is_relative_to(root / below) and _class(f, n)}
    return [described(file, name, f"{package}.{name}") for name, file in sorted(inside.items())]


def tasks() -> list[Class]:
    """Describe the tasks."""
    return classes("pretext", "tasks")


def backbones() -> list[Class]:
    """Describe the backbones."""
    return classes("pretext", "backbones")


def data() -> list[Class]:
    """Describe the data modules."""
    modules = [one for one in classes("datamodules") if any(option.name == "batch_size" for option in one.options)]
    return [one for one in modules if one.name != "datamodules.DataModule"]  # which is nobody's, but all derive from it


def described(file: Path, name: str, path: str = "") -> Class:
    """Describe a class of a file.

    Raises:
        ValueError: the file has no class of that name.

    """
    tree, node = _tree(file), _class(file, name)
    if node is None:
        raise ValueError(f"catalogue: {file} has no class {name}")
    doc, module = ast.get_docstring(node) or "", ast.get_docstring(tree) or ""
    urls = URL.findall(module)
    options = tuple(_options(node, _args(doc)))
    paper = urls[0].rstrip(".") if urls else ""
    return Class(path or name, doc.split("\n")[0], module.split("\n")[0], options, file.parent.name, paper)


def names_in(path: str) -> list[str] | None:
    """Return the names that a module of ours has, by its dotted path, or None where no file of ours is that module."""
    package, *rest = path.split(".")
    root = {"pretext": PACKAGE, "datamodules": DATA}.get(package)
    if root is None:
        return None
    file = root.joinpath(*rest)
    found = next(
        (f for f in (file.with_suffix(".py"), file / "__init__.pyi", file / "__init__.py") if rest and f.is_file()),
        None,
    )
    if not rest:
        return list(public(package))
    if found is None:
        return None
    stars = [node.module for node in _tree(found).body if isinstance(node, ast.ImportFrom) and _is_star(node)]
    return [*_names(found), *(name for star in stars if star for name in names_in(star) or [])]


def defines(file: Path, name: str) -> bool:
    """Tell whether a file has a class of that name."""
    return _class(file, name) is not None


def group(name: str) -> Class | None:
    """Describe a group of options, a dataclass among the public names; None where there is none of that name."""
    for package in ("datamodules", "pretext"):
        file = public(package).get(name)
        node = _class(file, name) if file is not None and file.is_file() else None
        if file is not None and node is not None and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
            return described(file, name, f"{package}.{name}")
    return None


def optimizers() -> dict[str, str]:
    """Return the names of torch's optimisers and their paths, without importing it."""
    spec = find_spec("torch")
    file = Path(spec.origin).parent / "optim" / "__init__.py" if spec and spec.origin else Path()
    names = [name for name in _names(file) if name[0].isupper() and name != "Optimizer"] if file.is_file() else []
    return {name: f"torch.optim.{name}" for name in names}


def trainer_options() -> list[str]:
    """Name the options of Lightning's Trainer, without importing it."""
    spec = find_spec("pytorch_lightning")
    file = Path(spec.origin).parent / "trainer" / "trainer.py" if spec and spec.origin else Path()
    return [option.name for option in described(file, "Trainer").options] if file.is_file() else []


def _is_star(node: ast.ImportFrom) -> bool:
    return any(name.name == "*" for name in node.names)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _class(file: Path, name: str) -> ast.ClassDef | None:
    return next((n for n in _tree(file).body if isinstance(n, ast.ClassDef) and n.name == name), None)


def _exports(stub: Path, root: Path) -> dict[str, Path]:
    """Follow the imports of a stub or a package to the files that define its names."""
    found: dict[str, Path] = {}
    for node in _tree(stub).body:
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            parts = parts if node.level else parts[1:]
            where = (stub.parent if node.level else root).joinpath(*parts)
            for name in node.names:
                inner = next((f for f in (where / "__init__.pyi", where / "__init__.py") if f.is_file()), None)
                found[name.asname or name.name] = (
                    _exports(inner, root).get(name.name, where) if inner else where.with_suffix(".py")
                )
    return found


def _names(file: Path) -> list[str]:
    names: list[str] = []
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names += [name.asname or name.name for name in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _options(node: ast.ClassDef, about: dict[str, str]) -> list[Option]:
    """Read what a class takes: the arguments of its `__init__`, or the fields of a dataclass."""
    made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if made is None:
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        given = [(str(getattr(n.target, "id", "")), n.annotation, n.value) for n in fields]
    else:
        args = made.args.args[1:]
        values = [None] * (len(args) - len(made.args.defaults)) + list(made.args.defaults)
        args, values = args + made.args.kwonlyargs, values + list(made.args.kw_defaults)
        given = [(arg.arg, arg.annotation, value) for arg, value in zip(args, values, strict=True)]  # type: ignore[misc]
    return [Option(name, _text(kind) or "", _text(value), about.get(name, "")) for name, kind, value in given]


def _text(node: ast.expr | None) -> str | None:
    return None if node is None else ast.unparse(node)


def _args(doc: str) -> dict[str, str]:
    """Read the section `Args:` of a docstring."""
    lines = doc.partition("\nArgs:\n")[2].split("\n")
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.strip() and not line.startswith("    "):
            break
        if head := re.fullmatch(r"    (\w+): (.*)", line):
            name = head[1]
            found[name] = head[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
