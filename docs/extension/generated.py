"""Parts of pages that are written from the code: the command line, lists of classes and configs, glossary, interface.

A page says `<!-- generated: NAME -->` where a part stands. Nothing of this is committed, so it is never out of date.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from pretext.__main__ import HELP
from pretext.__main__ import main as pretext
from pretext.cli import VERBS
from pretext.core import catalogue
from pretext.core.catalogue import Class, Option
from pretext.core.configs import PACKAGED, header, names, needs, users

MARK = re.compile(r"^<!-- generated: ([\w ]+) -->$", re.MULTILINE)
WIDTH = "100"  # columns of a help text
SUBVERBS = {"nas": ("sample", "search", "show"), "transfer": ("policy", "complete")}
KINDS = {"image": "On images", "video": "In time", "multimodal": "Across modalities", "adapters": "Adapters"}
GROUPS = {  # the rooms that public names come from, in the order in which a reader needs them
    "Verbs": ("training.fitting", "verbs", "training.run", "training.trained", "evaluation.results"),
    "Words of a task": ("core.types",),
    "Training": ("training", "views"),
    "Judging with labels": ("supervised",),
    "Tasks": ("tasks",),
    "Backbones": ("backbones",),
}
ABSTRACT = {
    "Task",
    "Backbone",
    "Protocol",
    "DataModule",
    "Run",
    "ProbeResult",
    "Boards",
}  # whose methods a user calls or writes
MORE = {  # what is public beside `pretext` and `datamodules`: module, and what stands in it or is repeated there
    "Callbacks": ("pretext.callbacks", "pretext.training.callbacks"),
    "Protocols": ("pretext.evaluation.protocol", "pretext.evaluation.protocol"),
    "The contract of tasks": ("pretext.testing", "pretext.testing"),
}
FENCE = "```"


def filled(text: str) -> str:
    """Write the parts of a page that come from the code."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), text)


def help_of(words: Sequence[str]) -> str:
    """Return what `pretext WORDS --help` prints."""
    said = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            pretext([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return said.getvalue().rstrip()


def command_line() -> str:
    """Write a section for each verb: its help."""
    sections = [f"{FENCE}text\n{HELP.rstrip()}\n{FENCE}"]
    for verb in VERBS:
        for words in ([verb], *([verb, sub] for sub in SUBVERBS.get(verb, ()))):
            sections.append(f"{'#' * (1 + len(words))} {' '.join(words)}\n\n{FENCE}text\n{help_of(words)}\n{FENCE}")
    return "\n\n".join(sections)


def tasks() -> str:
    """Write a section for each task, with its picture, its options and the configs that train it."""
    sections = []
    for folder, title in KINDS.items():
        sections.append(f"## {title}")
        sections += [_task(one) for one in catalogue.tasks() if one.folder == folder]
    return "\n\n".join(sections)


def picture_of(task: Class) -> str:
    """Name the config whose picture shows a task, or nothing."""
    found = [name for name in users(task.name) if name.startswith(("image/", "video/", "audio"))]
    return found[0] if found else ""


def data() -> str:
    """Write a section for each data module."""
    return "\n\n".join(_section(one) for one in catalogue.data())


def backbones() -> str:
    """Write a section for each backbone."""
    return "\n\n".join(_section(one) for one in catalogue.backbones())


def configs() -> str:
    """Write a section for each folder of configs, and an item for each config."""
    lines: list[str] = []
    folder = ""
    for name in names():
        head, place = header(PACKAGED / f"{name}.yaml"), name.rpartition("/")[0]
        if place != folder:
            folder = place
            lines += ["", f"## {folder}", ""]
        paper = f" ([paper]({head.paper}))" if head.paper else ""
        wants = needs(PACKAGED / f"{name}.yaml")
        result = head.facts.get("Result", "")
        told = [f"Needs {wants}." if wants else "", f"Measured: {_plain(result)}" if result else ""]
        lines.append(" ".join(part for part in [f"- **`{name}`**: {_plain(head.question)}{paper}", *told] if part))
    return "\n".join(lines)


def glossary() -> str:
    """Write what the headings of tables mean, as the pages of reports say it."""
    from pretext.evaluation.available import descriptions
    from pretext.report.glossary import SHORT

    said = [(one.title, one.about) for one in descriptions()]
    said += [(metric.title, metric.about) for one in descriptions() for metric in one.metrics if metric.about]
    return "\n".join(f"- **{word}**: {about.rstrip('.')}." for word, about in [*said, *SHORT.items()])


def interface() -> str:
    """Write the public names and their docstrings, by what they are for."""
    import datamodules
    import pretext as package

    place = {name: getattr(getattr(package, name), "__module__", "") for name in catalogue.public("pretext")}
    sections = []
    for title, rooms in GROUPS.items():
        inside = [name for room in rooms for name in place if f"{place[name]}.".startswith(f"pretext.{room}.")]
        sections.append(_documented(title, [f"pretext.{name}" for name in dict.fromkeys(inside)]))
        for name in inside:
            place.pop(name, None)
    shown = {name: getattr(datamodules, name) for name in catalogue.public("datamodules")}
    found = [f"datamodules.{name}" for name, thing in shown.items() if isinstance(thing, type)]
    sections.append(_documented("Data modules and their options", found))
    for title, (module, origin) in MORE.items():
        there = {name: thing for name, thing in vars(import_module(module)).items() if name[0] != "_"}
        own = [name for name, thing in there.items() if getattr(thing, "__module__", "").startswith(origin)]
        sections.append(_documented(title, [f"{module}.{name}" for name in own]))
    return "\n\n".join(sections)


def _task(one: Class) -> str:
    config = picture_of(one)
    lines = [f"### {one.name.removeprefix('pretext.')}", f"{one.about} {_link(one)}"]
    if config:
        lines.append(f"![What {config} asks](pictures/{config}.png)")
        result = header(PACKAGED / f"{config}.yaml").facts.get("Result", "not measured")
        lines.append(f"Config: `{config}`. Measured: {_plain(result)}")
    return "\n\n".join([*lines, *_options(one.options)])


def _section(one: Class) -> str:
    return "\n\n".join([f"## {one.name.rpartition('.')[2]}", f"{one.about} {_link(one)}", *_options(one.options)])


def _link(one: Class) -> str:
    return f"([paper]({one.paper}))" if one.paper else ""


def _options(options: Sequence[Option]) -> Iterator[str]:
    if options:
        rows = ["| option | default | what it is |", "|---|---|---|"]
        for one in options:
            default = "" if one.default is None else f"`{one.default}`"
            rows.append(f"| `{one.name}` | {_cell(default)} | {_cell(one.about)} |")
        yield "\n".join(rows)


def _cell(text: str) -> str:
    """Keep a text within one cell of a table, code as it is."""
    return "`".join(part if at % 2 else _plain(part) for at, part in enumerate(text.split("`"))).replace("|", "\\|")


def _plain(text: str) -> str:
    """Take the meaning of Markdown from what may have one in a sentence."""
    return re.sub(r"(?<!\w)([*_<])", r"\\\1", text)


def _documented(title: str, paths: Sequence[str]) -> str:
    lines = [f"## {title}", "", f"{FENCE}{{eval-rst}}"]
    for path in paths:
        package, name = path.rpartition(".")[::2]
        kind = "autoclass" if name[0].isupper() else "autofunction"
        lines += [f".. {kind}:: {package}.{name}"]
        lines += ["   :members:"] * (name in ABSTRACT) + [""]
    return "\n".join([*lines, FENCE])


PARTS: dict[str, Callable[[], str]] = {
    "command line": command_line,
    "tasks": tasks,
    "data": data,
    "backbones": backbones,
    "configs": configs,
    "glossary": glossary,
    "interface": interface,
}
