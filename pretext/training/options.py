"""Options of the command line, such as `--data.root DIR`, by the names of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pretext.core.configs import with_files
from pretext.training.renamed import PARTS, Hint, flow, groups_of, moved, tell, translated


def todays(options: Sequence[str], config: Mapping[str, Any] | None = None) -> list[str]:
    """Return command-line options with the names of today, and tell of those that had old ones.

    Packaged configs that they name become files.

    `config`: what the options are for; it says of which classes they are.
    """
    words, hints = renamed(with_files(options), config or {})
    tell(hints, "pretext", "--")
    return _nulls_kept(words, config or {})


def renamed(options: Sequence[str], config: Mapping[str, Any]) -> tuple[list[str], list[Hint]]:
    """Return command-line options with the names of today, and what to write instead of old ones."""
    known = _known(options, config)
    words: list[str] = []
    hints: list[Hint] = []
    for path, text, written in _parted(options):
        if text is None:
            words += written
            continue
        value = _value(text)
        new, told = translated(_nested(path, value), known)
        words += _written(new, value, text, joined=len(written) == 1) if told else written
        hints += [_in_file(hint, path, text) for hint in told] if _is_file(text) else told
    return words, hints


def named_data(options: Sequence[str]) -> str | None:
    """Return the class path of the data that options name, themselves (--data X) or in a file; None where none is."""
    named = None
    for path, text, _ in _parted(options):
        if path in ("data", "data.class_path") and text is not None:
            value = _value(text)
            named = value.get("class_path") if isinstance(value, dict) else text
    return moved(named) if isinstance(named, str) else None


def data_of(options: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """Put what options say of data (--data.root DIR, or a file of them) into a class and its arguments."""
    whole = _known(options, {"data": dict(data)})["data"]
    apart = {key: value for key, value in whole.items() if key not in PARTS}
    args = merged(dict(whole.get("init_args") or {}), apart)
    return {**{key: value for key, value in whole.items() if key in PARTS}, "init_args": args}


def _known(options: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Put options into a config, which then says of which classes they are."""
    known = dict(config)
    for path, text, _ in _parted(options):
        if text is not None:
            known = merged(known, _nested(path, _value(text)))
    return known


def _nulls_kept(options: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Write --data.disk.cache null as --data.disk {cache: null}, where a class groups its options so.

    jsonargparse 4.53 parses an option in a group twice, and turns the null of the first time to the word None. It
    merges a dict with what else the group has been given.
    """
    known, words = _known(options, config), []
    for path, text, written in _parted(options):
        part, *inside = (name for name in path.split(".") if name != "init_args")
        node = known.get(part)
        name = node.get("class_path") if isinstance(node, dict) else node
        twice = len(inside) == 2 and isinstance(name, str) and inside[0] in groups_of(name)
        null = text is not None and _value(text) is None and twice
        words += [f"--{path.rpartition('.')[0]}", f"{{{inside[-1]}: null}}"] if null else written
    return words


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Put a second config's entries into a first one's, dict by dict; a string there names a dict's class."""
    result = dict(one)
    for key, value in other.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, str):
            value = {"class_path": value}
        elif isinstance(before, str) and isinstance(value, dict):
            before = {"class_path": before}
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _parted(options: Sequence[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Part words into options: the path, the value if there is one, and the words as they were written.

    Whatever is no option with a value, and what belongs to the parser itself (-c FILE), comes without.
    """
    place = 0
    while place < len(options):
        word, rest = options[place], options[place + 1 : place + 2]
        path, joined, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or path == "config" or path.endswith("+"):
            yield "", None, [word]
        elif joined:
            yield path, text, [word]
        elif rest and not rest[0].startswith(("--", "-c")):
            place += 1
            yield path, rest[0], [word, rest[0]]
        else:
            yield path, None, [word]
        place += 1


def _value(text: str) -> Any:
    """Read a value, or the file that it names, such as --data FILE.yaml."""
    try:
        return yaml.safe_load(Path(text).read_text() if _is_file(text) else text)
    except yaml.YAMLError:
        return text


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) and Path(text).is_file()


def _in_file(hint: Hint, path: str, file: str) -> Hint:
    """Tell of what stands in a file by its place there."""
    old, new = (name.removeprefix(f"{path}.") for name in (hint.old, hint.new))
    return Hint(old, new, is_option=False, source=file)


def _nested(path: str, value: Any) -> dict[str, Any]:
    """Turn a.b and 1 to {a: {b: 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _written(config: Any, value: Any, text: str, joined: bool) -> list[str]:
    """Turn {a: {b: 1}} back to --a.b 1, or --a.b=1; a `value` that is unchanged keeps its `text`."""
    path: list[str] = []
    while isinstance(config, dict) and len(config) == 1 and config != value:
        ((key, config),) = config.items()
        path.append(key)
    option = "--" + ".".join(path)
    new = text if config == value else config if isinstance(config, str) else flow(config)
    return [f"{option}={new}"] if joined else [option, new]
