"""The words of a command line and the values of a config, as they are written: nothing is resolved or imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def parted(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Part words into options and their values, if they have one."""
    place = 0
    while place < len(words):
        option, joined, value = words[place].partition("=")
        rest = words[place + 1 : place + 2]
        place += 1
        if not option.startswith("-"):
            continue
        if joined:
            yield option, value
        elif rest and not rest[0].startswith("--"):
            yield option, rest[0]
            place += 1
        else:
            yield option, None


def plain(file: Path) -> dict[str, Any]:
    """Read a config without resolving anything in it.

    Raises:
        ValueError: it is no text, no YAML, or a list.

    """
    from yaml import YAMLError, safe_load

    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is no YAML of plain data, since it is no text; `pretext configs` lists ours"
        ) from error
    except YAMLError as error:
        told = " ".join(line.strip() for line in str(error).splitlines())
        raise ValueError(f"{file} is no YAML of plain data: {told}") from error
    if isinstance(content, list):
        raise ValueError(f"{file} is a list; a config is a mapping, such as `model:` with its options below")
    return content if isinstance(content, dict) else {}


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Go through the values of a config with their paths."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for value in tree:
            yield from leaves(value, path)
    else:
        yield path, tree


def together(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put options into configs, which then say of which classes the options are."""
    tree: dict[str, Any] = {}
    for config in configs:
        _merge(tree, config)
    for option, value in parted(words):
        if option.startswith("--") and value is not None and not option.endswith("+"):
            nested: Any = _value(value)
            for key in reversed(option.removeprefix("--").split(".")):
                nested = {key: nested}
            _merge(tree, nested)
    return tree


def _value(text: str) -> Any:
    """Read a value: of a mapping, or of a file of one, its content, else the text itself."""
    from yaml import YAMLError, safe_load

    if text.endswith((".yaml", ".yml")) and Path(text).is_file():
        return plain(Path(text))
    try:
        return safe_load(text) if text.startswith("{") else text
    except YAMLError:
        return text


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put a config into another, mapping by mapping; a word in a mapping's place names its class."""
    for key, value in other.items():
        before = tree.get(key)
        if isinstance(before, dict) and isinstance(value, str):
            before["class_path"] = value
        elif isinstance(value, Mapping):
            inside: dict[str, Any] = before if isinstance(before, dict) else {}
            if isinstance(before, str):
                inside = {"class_path": before}
            _merge(inside, value)
            tree[key] = inside
        else:
            tree[key] = value
