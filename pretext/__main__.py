"""The command line: every verb in one help text."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, cast

from jsonargparse import ArgumentError

HELP = """\
pretext: self-supervised pretext tasks on one shared backbone

usage: pretext VERB ...

  fit       train:            pretext fit -c CONFIG [--data.root DIR ...]; continue: pretext fit RUN
  validate  pretext scores on the validation images:  pretext validate RUN
  test      pretext scores on the test images:        pretext test RUN
  predict   pooled features of the test images to a file:  pretext predict RUN
  show      draw what the tasks ask:  pretext show RUN | -c CONFIG [--out puzzles.png]
  probe     measure what every stage learned:  pretext probe RUN [--data datamodules.ImageFolder --data.root DIR]
  report    one self-contained HTML page of a run:  pretext report RUN
  export    the plain backbone:  pretext export RUN --to torchvision|safetensors

A RUN is the folder that `fit` made (config.yaml and checkpoints), by default runs/<config's name>/<number>.
`pretext VERB --help` lists a verb's options; PRETEXT_TRACEBACK=1 shows where an error came from.
"""

# What a user can cause and mend. Anything else is our bug and deserves its traceback.
USER_ERRORS = (ArgumentError, ValueError, TypeError, OSError, ImportError, FloatingPointError)


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code: 0 done, 1 an error told in one line."""
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0 if args else 1
    if args[0] == "--version":
        from pretext import __version__

        print(__version__)
        return 0
    # Lightning 2.6 asks torch's pytree in a way that torch 2.14 calls deprecated; a user can do nothing about it.
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec", FutureWarning)
    sys.path.append(str(Path.cwd()))  # a plug-in beside the config is found, as with `python -m pretext`
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)  # no device tables and advertisements
    try:
        _verb(args[0])(args)
    except USER_ERRORS as error:
        if os.environ.get("PRETEXT_TRACEBACK"):
            raise
        print(f"pretext {args[0]}: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pretext {args[0]}: interrupted", file=sys.stderr)
        return 130
    return 0


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def __init__(self, verb: Callable[[list[str]], None]) -> None:
        super().__init__(f"pretext {verb.__name__}", description=verb.__doc__, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


# Lines of jsonargparse's messages that speak of its own types and not of what the user wrote.
NOISE = re.compile(
    r"Does not validate against|Subtypes:|Errors:|Given value type:|Given value: NestedArg"
    r"|- Expected a <class 'NoneType'>|- Expected a path but"
)


def one_line(error: BaseException) -> str:
    """Say what is wrong in one line, however many a library used."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line.removeprefix("- ") for line in lines if line and not NOISE.match(line)) or repr(error)


def _verb(name: str) -> Callable[[list[str]], None]:
    # Imported here, so that `pretext --help` answers at once.
    if name in ("fit", "validate", "test", "predict"):
        return fit
    verbs: dict[str, Callable[[list[str]], None]] = {"show": show, "probe": probe, "report": report, "export": export}
    if name not in verbs:
        raise ValueError(f"unknown verb {name!r}; `pretext --help` lists them")
    return verbs[name]


def fit(args: list[str]) -> None:
    """Train, validate, test or predict."""
    from pretext.commands.fit import PretextCLI

    PretextCLI(args)


def show(args: list[str]) -> None:
    """Draw the puzzles of a run or of a config."""
    from pretext.commands.show import paint, puzzles
    from pretext.run import CONFIG, LAST, build, find, read, restore

    parser = Parser(show)
    parser.add_argument("run", nargs="?", help="a run")
    parser.add_argument("-c", "--config", help="a config, to look before training")
    parser.add_argument("--out", type=Path, help="the picture (default: puzzles.png, in the run if there is one)")
    parser.add_argument("--count", type=int, default=6, help="puzzles per task (default 6)")
    own, options = parser.parse_known_args(args[1:])
    if (own.run is None) == (own.config is None):
        raise ValueError("give either a run or -c CONFIG")
    run = find(own.run) if own.run else None
    module, data = build(read(run / CONFIG if run else own.config), options)
    if data is None:
        raise ValueError("the config names no data; add --data CLASS")
    trained = run is not None and (run / LAST).exists()
    if run is not None and trained:
        restore(module, run)
    data.prepare_data()
    data.setup("validate")
    held_out = next(iter(data.val_dataloader()), None)  # what the head answers to images that it was not trained on
    first = held_out or next(iter(data.ordered("train")))  # type: ignore[attr-defined]  # the batch law's, not Lightning's
    drawings = puzzles(module, first, own.count, trained)
    out = own.out or (run or Path()) / "puzzles.png"
    paint(drawings, out)
    print(f"{out}")


def probe(args: list[str]) -> None:
    """Measure what every stage of a run's backbone learned."""
    from pretext.commands.probe import Labelled, probe_run
    from pretext.run import CONFIG, build, find, read, restore

    parser = Parser(probe)
    parser.add_argument("run", help="a run")
    own, options = parser.parse_known_args(args[1:])
    run = find(own.run)
    config = read(run / CONFIG)
    fresh, data = build(config, options)
    trained, _ = build({key: value for key, value in config.items() if key != "data"})
    if data is None:
        raise ValueError("the run names no data; add --data CLASS")
    restore(trained, run)
    labelled = cast(Labelled, data)  # the batch law's methods, which Lightning does not know
    probe_run(trained.backbone, fresh.backbone, labelled, trained.view, run, command=shlex.join(["pretext", *args]))


def report(args: list[str]) -> None:
    """Write one self-contained HTML page of a run."""
    from pretext.commands.report import write_report
    from pretext.run import find

    parser = Parser(report)
    parser.add_argument("run", help="a run")
    print(write_report(find(parser.parse_args(args[1:]).run)))


def export(args: list[str]) -> None:
    """Write the plain backbone of a run to a file."""
    from pretext.commands.export import export as write
    from pretext.run import find, load

    parser = Parser(export)
    parser.add_argument("run", help="a run")
    parser.add_argument("--to", choices=("torchvision", "safetensors"), required=True)
    parser.add_argument("--out", type=Path, help="the file (default: backbone.pth or backbone.safetensors in the run)")
    own = parser.parse_args(args[1:])
    suffix = {"torchvision": ".pth", "safetensors": ".safetensors"}[own.to]
    print(write(load(own.run).backbone, own.out or find(own.run) / f"backbone{suffix}", own.to))


if __name__ == "__main__":
    sys.exit(main())
