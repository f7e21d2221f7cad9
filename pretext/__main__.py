"""The command line: every verb in one help text."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import traceback
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from yaml import YAMLError

HELP = """\
pretext: self-supervised pretext tasks on one shared backbone

usage: pretext VERB ...

  fit       train:            pretext fit -c CONFIG [--data.root DIR ...]; continue: pretext fit RUN
  validate  pretext scores on the validation images:  pretext validate RUN
  test      pretext scores on the test images:        pretext test RUN
  predict   pooled features of the test images to a file:  pretext predict RUN
  show      draw what the tasks ask:  pretext show RUN | -c CONFIG [--out puzzles.png]
  probe     measure what every stage learned:  pretext probe RUN [--data datamodules.ImageFolder --data.root DIR]
            of another project's weights:  pretext probe --backbone timm:resnet18 --weights FILE --data ...
  compare   probed runs side by side:  pretext compare RUN RUN ... [--out FILE.html]
  bench     train, probe and rank what a YAML names; go on after a kill; start it twice to share the work:
            pretext bench SUITE.yaml
  evolve    find the weights of a config's tasks by search, without labels; resumes; start it N times for N workers:
            pretext evolve -c CONFIG [--searcher cmaes --candidates 40 --steps 100 --storage URL --study NAME ...]
  report    one self-contained HTML page of a run:  pretext report RUN
  export    the plain backbone:  pretext export RUN --to torchvision|safetensors [--modality rgb]

A RUN is the folder that `fit` made (config.yaml and checkpoints), by default runs/<config's name>/<number>.
`pretext VERB --help` lists a verb's options; PRETEXT_TRACEBACK=1 shows where an error came from.
"""

# What a user can cause and mend. Anything else is our bug and deserves its traceback.
USER_ERRORS = (ArgumentError, ValueError, TypeError, OSError, ImportError, FloatingPointError, YAMLError)
# The same from libraries that are too slow to import for a line of help.
USER_MESSAGES = re.compile(r"^(MisconfigurationException: |RuntimeError: Error\(s\) in loading state_dict)")


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
    try:
        _verb(args[0])(args)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        users = isinstance(error, USER_ERRORS) or USER_MESSAGES.match(f"{type(error).__name__}: {error}")
        if os.environ.get("PRETEXT_TRACEBACK") or not users:
            raise
        print(f"pretext {args[0]}: {one_line(error)}{_hint(error)}", file=sys.stderr)
        return 1
    return 0


def _hint(error: BaseException) -> str:
    """Point to the traceback where the error is not one that this package or a parser words for its users."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = frame.f_globals.get("__name__", "").split(".")[0] in ("pretext", "datamodules", "jsonargparse", "argparse")
    return "" if ours or isinstance(error, ArgumentError) else " (PRETEXT_TRACEBACK=1 shows where)"


def _run_of(args: list[str]) -> tuple[str | None, list[str]]:
    """Split `VERB RUN options` to the run, if there is one, and the options (whose values are never taken for it)."""
    named = len(args) > 1 and not args[1].startswith("-")
    return (args[1], args[2:]) if named else (None, args[1:])


def _needed(run: str | None) -> str:
    if run is None:
        raise ValueError("give a run, the folder that `pretext fit` made, before any option")
    return run


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def __init__(self, verb: Callable[[list[str]], None], run: str) -> None:
        usage = f"pretext {verb.__name__} {run} [options]"
        super().__init__(usage=usage, description=verb.__doc__, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


# Lines of jsonargparse's messages that speak of its own types and not of what the user wrote.
NOISE = re.compile(
    r"Does not validate against|Subtypes:|Errors:|Given value type:|Given value: (NestedArg|Namespace)"
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
    every = (show, probe, compare, bench, evolve, report, export)
    verbs: dict[str, Callable[[list[str]], None]] = {verb.__name__: verb for verb in every}
    if name not in verbs:
        raise ValueError(f"unknown verb {name!r}; `pretext --help` lists them")
    return verbs[name]


def fit(args: list[str]) -> None:
    """Train, validate, test or predict."""
    from pretext.commands.fit import PretextCLI

    PretextCLI(args)


def show(args: list[str]) -> None:
    """Draw what the tasks of a run or a config ask. Further options, such as --data.root DIR, override the config's."""
    from pretext.commands.show import paint, puzzles
    from pretext.module import Pretrainer
    from pretext.run import CONFIG, LAST, build, find, read, restore

    name, rest = _run_of(args)
    parser = Parser(show, "[RUN]")
    parser.add_argument("-c", "--config", help="a config instead of a run, to look before training")
    parser.add_argument("--out", type=Path, help="the picture (default: puzzles.png, in the run if there is one)")
    parser.add_argument("--count", type=int, default=6, help="puzzles per task (default 6)")
    own, options = parser.parse_known_args(rest)
    if (name is None) == (own.config is None):
        raise ValueError("give either a run, before any option, or -c CONFIG")
    run = find(name) if name else None
    module, data = build(read(run / CONFIG if run else own.config), options)
    if data is None:
        raise ValueError("the config names no data; add --data CLASS")
    if not isinstance(module, Pretrainer):
        raise ValueError(f"{type(module).__name__} poses no puzzles; show wants a run or config of pretext tasks")
    trained = run is not None and (run / LAST).exists()
    if run is not None and trained:
        restore(module, run)
    data.prepare_data()
    data.setup("validate")
    held_out = next(iter(data.val_dataloader()), None)  # what the head answers to items that it was not trained on
    first = held_out or next(iter(data.train_dataloader()))
    out = own.out or (run or Path()) / "puzzles.png"
    paint(puzzles(module, first, own.count, trained), out)
    print(out)


def probe(args: list[str]) -> None:
    """Measure what every stage of a backbone learned. Options override: --data datamodules.X --data.root DIR."""
    from pretext.commands.probe import Plan, probe_run
    from pretext.commands.sights import of_outsider, of_run
    from pretext.evaluation.embed import DIMS
    from pretext.evaluation.measure import EVERY, PROTOCOLS

    name, rest = _run_of(args)
    parser = Parser(probe, "RUN | --backbone SPEC")
    parser.add_argument("--backbone", help="instead of a run: torchvision:NAME, timm:NAME or a class")
    parser.add_argument("--weights", help="file with that backbone's weights")
    parser.add_argument("--crop", type=int, help="centre of the canvas that it is shown (default: all of it)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: the run, or runs/probe/SPEC)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone to probe (default: the first)")
    parser.add_argument(
        "--protocols", nargs="+", choices=EVERY, default=PROTOCOLS, help=f"default {' '.join(PROTOCOLS)}"
    )
    parser.add_argument(
        "--views", type=int, default=0, help="augmented views of each training image to add (default 0)"
    )
    parser.add_argument("--dims", type=int, default=DIMS, help=f"values that a stage is pooled to (default {DIMS})")
    own, options = parser.parse_known_args(rest)
    if (name is None) == (own.backbone is None):
        raise ValueError("give either a run, before any option, or --backbone SPEC")
    if name is not None and (own.weights or own.crop):
        raise ValueError("--weights and --crop go with --backbone; a run has its own")
    if name is None and own.modality:
        raise ValueError("--modality goes with a run; a --backbone is one network")
    if own.dims < 1 or own.views < 0:
        raise ValueError(f"--dims is at least 1 and --views at least 0, got {own.dims} and {own.views}")
    if name is not None:
        networks, sight, folder = of_run(name, options, own.modality, own.dims)
    else:
        networks, sight, folder = of_outsider(own.backbone, own.weights, options, own.crop, own.dims)
    command = shlex.join(["pretext", *args])
    probe_run(networks, sight, own.out or folder, command, Plan(own.protocols, own.views, own.dims))


def compare(args: list[str]) -> None:
    """Print the probes of several runs side by side."""
    from rich.console import Console

    from pretext.callbacks.record import environment
    from pretext.commands.compare import compared
    from pretext.commands.leaderboard import table, write_html

    parser = Parser(compare, "RUN RUN ...")
    parser.add_argument("runs", nargs="+", help="folders of probed runs")
    parser.add_argument("--out", type=Path, help="write the page of a leaderboard too")
    own = parser.parse_args(args[1:])
    boards = compared(own.runs)
    for board in boards:
        Console().print(table(board))
    if own.out is not None:
        write_html(boards, own.out, "Comparison", shlex.join(["pretext", *args]), environment())
        print(own.out)


def bench(args: list[str]) -> None:
    """Train what is missing, probe everything, and write leaderboard.html, .csv and .md."""
    from filelock import FileLock

    from pretext.callbacks.record import environment
    from pretext.commands.bench import boards, work
    from pretext.commands.leaderboard import markdown, write_csv, write_html
    from pretext.commands.suite import read_suite

    name, rest = _run_of(args)
    parser = Parser(bench, "SUITE.yaml")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/bench/<the file's name>)")
    parser.add_argument("--only", nargs="+", help="boards to work on (default: all)")
    own = parser.parse_args(rest)
    if name is None:
        raise ValueError("give the YAML of a benchmark before any option")
    suite = read_suite(name)
    folder = own.out or Path("runs") / "bench" / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    command, facts = shlex.join(["pretext", *args]), environment()

    def write() -> None:
        found = boards(suite, folder)
        with FileLock(folder / "leaderboard.lock"):  # several processes may share the work
            write_html(found, folder / "leaderboard.html", suite.title, command, facts)
            write_csv(found, folder / "leaderboard.csv")
            (folder / "leaderboard.md").write_text(markdown(found), encoding="utf-8")

    work(suite, folder, write, own.only)
    write()
    print(folder / "leaderboard.html")


def evolve(args: list[str]) -> None:
    """Search the weights of a config's tasks. Options of the search, and of the config such as --data.root DIR."""
    from pretext.callbacks.record import environment
    from pretext.evolution.settings import options_help, read_search
    from pretext.evolution.storage import public
    from pretext.evolution.worker import evolve as search_on
    from pretext.run import read

    stray, rest = _run_of(args)
    if stray is not None:
        raise ValueError(f"evolve takes options alone, got {stray}; give a training config with -c")
    parser = Parser(evolve, "-c CONFIG")
    parser.add_argument("-c", "--config", help="a training config, perhaps with a section `evolve`")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/evolve/<the study's name>)")
    parser.epilog, parser.formatter_class = options_help(), argparse.RawDescriptionHelpFormatter
    own, options = parser.parse_known_args(rest)
    if own.config is None:
        raise ValueError("give a training config: pretext evolve -c CONFIG")
    search = read_search(read(own.config), options)
    name = search.settings.study or Path(own.config).stem
    folder = own.out or Path("runs") / "evolve" / name
    command = shlex.join(["pretext", *(public(word) for word in args)])
    print(search_on(search, name, folder, command, environment()))


def report(args: list[str]) -> None:
    """Write one self-contained HTML page of a run."""
    from pretext.commands.report import write_report
    from pretext.run import find

    name, rest = _run_of(args)
    Parser(report, "RUN").parse_args(rest)
    print(write_report(find(_needed(name))))


def export(args: list[str]) -> None:
    """Write the plain backbone of a run to a file."""
    from pretext.commands.export import export as write
    from pretext.run import find, load

    name, rest = _run_of(args)
    parser = Parser(export, "RUN")
    parser.add_argument("--to", choices=("torchvision", "safetensors"), required=True)
    parser.add_argument("--out", type=Path, help="the file (default: backbone.pth or backbone.safetensors in the run)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone to write")
    own = parser.parse_args(rest)
    run = find(_needed(name))
    suffix = {"torchvision": ".pth", "safetensors": ".safetensors"}[own.to]
    stem = f"backbone-{own.modality}" if own.modality else "backbone"
    print(write(load(run).backbone, own.out or run / f"{stem}{suffix}", own.to, own.modality))


if __name__ == "__main__":
    sys.exit(main())
