"""`pretext configs`: list the packaged configs, show one, or copy one to change it."""

from __future__ import annotations

import shutil
from pathlib import Path

from pretext.cli.listing import first, listed, told
from pretext.cli.parser import Parser, run_of
from pretext.core.configs import PACKAGED, find_config, header, names, needs, result


def main(args: list[str]) -> None:
    """List the packaged configs. With a NAME print that one; --copy FILE writes it to a file of your own."""
    name, rest = run_of(args)
    parser = Parser("configs", "[NAME]", main.__doc__)
    parser.add_argument("--copy", type=Path, metavar="FILE", help="write the config NAME to FILE, to be changed")
    own = parser.parse_args(rest)
    if name is None and own.copy is not None:
        raise ValueError("--copy wants the NAME of a config before it: pretext configs image/rotation --copy FILE")
    if name is None:
        more = "one of them whole: pretext configs NAME; train it: pretext fit -c NAME"
        print(listed([_row(one) for one in names()], more), end="")
        return
    file = find_config(name)
    if own.copy is None:
        print(file.read_text(encoding="utf-8"), end="")
        return
    if own.copy.exists():
        raise FileExistsError(f"{own.copy} is there already; give another file to --copy")
    own.copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, own.copy)
    start = "start it: pretext transfer predict" if file.parent.name == "transfer" else "train it: pretext fit -c"
    print(f"wrote {own.copy}; {start} {own.copy}")


def _row(name: str) -> tuple[str, str]:
    file = PACKAGED / f"{name}.yaml"
    said = header(file)
    return name, told(said.question, f"needs {needs(file)}", said.paper, first(result(said)))
