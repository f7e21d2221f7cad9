"""Configs that come with the package, found by name: `image/rotation`. Nothing here needs torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
PACKAGED = next((f for f in (PACKAGE / "configs", PACKAGE.parent / "configs") if f.is_dir()), PACKAGE / "configs")
"""The folder of them: inside the installed package, in a checkout beside it."""
FACT = re.compile(r"(\w+)(?::  +)(.*)|(Not as in the papers?): (.*)")
DATA = re.compile(
    r"^(?:data:.*?)?class_path: (?:datamodules\.)?([\w.]+)(.*?)(?=^[a-hj-z]\w*:|\Z)", re.DOTALL | re.MULTILINE
)
VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
URL = re.compile(r"https?://[^\s;,)]+")
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")


class Header(NamedTuple):
    """What the comment on top of a config says."""

    question: str
    """Its first sentence: what is asked, of what."""
    paper: str
    """The address of the first paper that it names, or nothing."""
    facts: dict[str, str]
    """Command, Cost, Result and so on."""


def names() -> list[str]:
    """Name all packaged configs, such as `image/rotation`."""
    return sorted(str(file.relative_to(PACKAGED).with_suffix("")) for file in PACKAGED.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Find a config: a file, or the name of a packaged one (`image/rotation`, `configs/image/rotation.yaml`).

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is a picture or a folder.

    """
    file = Path(name)
    if file.is_file():
        _refuse_picture(file)
        return file
    if packaged := packaged_config(name):
        return packaged
    if file.is_dir():
        raise ValueError(f"{file} is a folder; -c takes a config file or a packaged config, see `pretext configs`")
    guess = f"did you mean {like}? " if (like := like_config(name)) else ""
    raise FileNotFoundError(f"no config file {name}, nor one of ours; {guess}`pretext configs` lists ours")


def like_config(name: str | Path, cutoff: float = 0.5, trains: bool = False) -> str | None:
    """Name the packaged config that a name is most like: by its last part (`rotation`: `image/rotation`), or whole.

    `trains`: only of those that `pretext fit` takes.
    """
    plain, known = _plain(name), [one for one in names() if not (trains and one.startswith(("data/", "transfer/")))]
    last: dict[str, str] = {}
    for one in sorted(known, key=lambda one: one.count("/")):  # image before image/photos, and before video
        last.setdefault(one.rpartition("/")[2], one)
    like = get_close_matches(plain, [*known, *last], n=1, cutoff=cutoff)
    return last.get(like[0], like[0]) if like else None


def packaged_config(name: str | Path) -> Path | None:
    """Return the packaged config of a name, if there is one."""
    file = PACKAGED / f"{_plain(name)}.yaml"
    return file if file.is_file() and file.resolve().is_relative_to(PACKAGED.resolve()) else None


def with_files(words: Sequence[str]) -> list[str]:
    """Write the files of packaged configs into a command line that names them: after -c, --config and --data.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: it is a picture or a folder.

    """
    written = list(words)
    for place, word in enumerate(words):
        option, joined, value = word.partition("=")
        before = words[place - 1] if place else ""
        if option == "--config" and joined:
            written[place] = f"{option}={find_config(value)}"
        elif before in ("-c", "--config"):
            written[place] = str(find_config(word))
        elif (before == "--data" or (option == "--data" and joined)) and (name := value if joined else word):
            named = None if Path(name).is_file() or "/" not in name else packaged_config(name)
            written[place] = word.replace(name, str(named)) if named else word
    return written


def title_of(file: Path) -> Path:
    """Name a config by modality and task, as runs are: what follows a folder `configs`, else its own name."""
    parts = file.resolve().with_suffix("").parts
    at = max((place for place, part in enumerate(parts[:-1]) if part == "configs"), default=len(parts) - 2)
    return Path(*parts[at + 1 :])


def needs(file: Path) -> str:
    """Say what must be there before a config can be used: data, a trained run, or nothing."""
    text = file.read_text(encoding="utf-8")
    if variable := VARIABLE.search(text):
        return f"a folder of photos in the variable {variable[1]}"
    found = DATA.search(text)
    two, one = (bool(found) and f"{word}:" in found[2] for word in ("target", "root"))  # type: ignore[index]
    where = " at --data.source and --data.target" if two else " at --data.root" if one else ", made here"
    data = [] if found is None else [found[1] + where]
    own = re.search(r"^ +backbone:", text, re.MULTILINE)  # then a run is one more way to begin
    return ", ".join(data + ["a trained run at --model.run"] * ("--model.run RUN" in text and not own))


def users(name: str) -> list[str]:
    """Name the packaged configs that name a class, such as `pretext.Rotation`; those that train the least first."""
    texts = {one: (PACKAGED / f"{one}.yaml").read_text(encoding="utf-8") for one in names()}
    found = [one for one, text in texts.items() if re.search(rf"class_path: {re.escape(name)}\b", text)]
    aside = {one: one.startswith(("published", "evolve", "transfer", "generated")) for one in found}
    return sorted(found, key=lambda one: (aside[one], _tasks(texts[one]), "photos" in one, one))


def _tasks(text: str) -> int:
    """Count the tasks that a config of ours trains."""
    section = re.search(r"^  tasks:\n((?:    .*\n)*)", text, re.MULTILINE)
    return len(re.findall(r"^    \w", section[1], re.MULTILINE)) if section else 0


def header(file: Path) -> Header:
    """Read the comment on top of a config."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    facts: dict[str, str] = {}
    first, last = "", ""
    for line in lines:
        if found := FACT.fullmatch(line):
            last = found[1] or found[3]
            facts[last] = found[2] or found[4]
        elif last:
            facts[last] += f" {line}"
        else:
            first = f"{first} {line}".strip()
    urls = URL.findall(first)
    question = re.sub(r" *\((?:[^()]*?)https?://[^()]*\)", "", first)
    question = re.match(r".*?(?:[?.](?= [A-Z])|$)", question)[0]  # type: ignore[index]  # which matches anything
    return Header(question, urls[0] if urls else "", facts)


def result(said: Header) -> str:
    """Return a header's result with the steps that it was measured after in place of "those steps"."""
    told = said.facts.get("Result", "")
    told = re.sub(r"(?<=\d) of those (?=steps)|\b(?:those|these) (?=[\d,]+ steps)", " ", told).replace("  ", " ")
    steps = re.search(r"([\d,]+) steps", said.facts.get("Cost", ""))
    return re.sub(r"\bthose (?=steps)", f"{steps[1]} " if steps else "its ", told)


def _plain(name: str | Path) -> str:
    text = str(name).removeprefix("./").removeprefix("configs/")
    return text.removesuffix(".yaml").removesuffix(".yml")


def _refuse_picture(file: Path) -> None:
    with file.open("rb") as content:
        if content.read(8).startswith(PICTURES):
            raise ValueError(f"{file} is a picture; -c takes a config (YAML). `pretext configs` lists ours")
