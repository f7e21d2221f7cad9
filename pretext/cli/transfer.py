"""`pretext transfer`: which source helps which target, what to train on a budget, and what can be predicted."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pretext.cli.parser import Parser, run_of
from pretext.cli.words import plain
from pretext.core.configs import find_config
from pretext.transfer.names import DEFAULT, METHODS, REFITS

if TYPE_CHECKING:
    from pretext.report.table import Table

KINDS = {
    "sources": "a map of transfers: pretext transfer",
    "tasks": "a suite of tasks to predict: pretext transfer predict",
    "boards": "a benchmark: pretext bench",
    "model": "a config of training: pretext fit -c",
}
ANSWERS, PAIRS = "item,rater,answer", "rater,a,b,winner"


def main(args: list[str]) -> None:
    """Measure a map of transfers, choose sources on a budget, complete a table, weigh votes, or predict networks."""
    kinds = {"policy": _policy, "complete": _complete, "votes": _votes, "predict": _predict}
    if len(args) > 1 and args[1] in kinds:
        kinds[args[1]](args[2:])
    else:
        _measure(args)


def _measure(args: list[str]) -> None:
    """Train what is missing, measure every transfer, and write transfer.html, .csv and .json."""
    name, rest = run_of(args)
    kinds = "SUITE.yaml | policy TABLE.csv | complete TABLE.csv | votes FILE.csv | predict SUITE.yaml"
    parser = Parser("transfer", kinds, _measure.__doc__)
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/transfer/<the file's name>)")
    own = parser.parse_args(rest)
    if name is None:
        raise ValueError("give the YAML of a map, or policy, complete, votes or predict and a file, before any option")
    if not Path(name).is_file():
        raise FileNotFoundError(f"transfer: no file {name}")
    _check_kind(Path(name), "sources")
    from filelock import FileLock

    from pretext.report.transfer import write_all
    from pretext.training.callbacks.record import environment
    from pretext.transfer.runner import Workshop
    from pretext.transfer.suite import read_suite

    shop = Workshop(read_suite(name), own.out or Path("runs") / "transfer" / Path(name).stem)
    shop.folder.mkdir(parents=True, exist_ok=True)
    command, facts = shlex.join(["pretext", *args]), environment()

    def write() -> None:
        with FileLock(shop.folder / "transfer.lock"):  # several processes may share the work
            write_all(shop.map(), shop.folder, command, facts)

    shop.work(write)
    write()
    print(f"look: {shop.folder / 'transfer.html'} (also .csv and .json)")


def _policy(args: list[str]) -> None:
    """Choose the sources to train on a budget, so that every target finds a good one."""
    parser = Parser("transfer policy", "MATRIX.csv", _policy.__doc__)
    parser.add_argument("table", type=Path, help="sources joined by a bar, target, value; larger is better")
    parser.add_argument("--budget", type=float, required=True, help="how much the sources may cost together")
    parser.add_argument("--costs", type=Path, help="CSV of name,cost for sources (default: 1 each)")
    parser.add_argument("--weights", type=Path, help="CSV of name,weight for targets (default: 1 each)")
    parser.add_argument("--order", type=int, help="most sources of one transfer (default: as in the table)")
    own = parser.parse_args(args)
    _check(own.table)
    from rich.console import Console

    from pretext.report.transfer_tables import policy_table
    from pretext.transfer.policy import best_policy
    from pretext.transfer.tables import read_figures, read_transfers

    transfers = read_transfers(own.table)
    costs, weights = (None if file is None else read_figures(file) for file in (own.costs, own.weights))
    policy = best_policy(transfers, own.budget, costs, weights, own.order)
    holes = sum(not t.measured for t in transfers)
    Console().print(policy_table(policy, holes).rich())


def _complete(args: list[str]) -> None:
    """Predict the transfers of one source that nobody measured, and write the complete table."""
    parser = Parser("transfer complete", "MATRIX.csv", _complete.__doc__)
    parser.add_argument("table", type=Path, help="sources, target, value; transfers that are missing are predicted")
    parser.add_argument("--method", default=DEFAULT, choices=METHODS, help=f"(default {DEFAULT})")
    parser.add_argument("--features", type=Path, help="CSV of a name and numbers for every task")
    parser.add_argument("--scale", default="log", choices=["log", "linear"], help="log: of positive values (default)")
    parser.add_argument("--refits", type=int, default=REFITS, help=f"for intervals (default {REFITS})")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    parser.add_argument("--out", type=Path, help="file of the complete table (default: beside it, NAME_completed.csv)")
    own = parser.parse_args(args)
    _check(own.table)
    from rich.console import Console

    from pretext.report.transfer_tables import completion_table
    from pretext.transfer.complete import complete
    from pretext.transfer.tables import (
        Transfer,
        check_names,
        first_order,
        read_features,
        read_transfers,
        write_transfers,
    )

    transfers = read_transfers(own.table)
    matrix = first_order(transfers)
    features = None if own.features is None else read_features(own.features)
    if features is not None:
        check_names(features, {*matrix.sources, *matrix.targets}, "features")
    found = complete(matrix, own.method, features, own.scale, own.refits, own.seed)
    single = [
        Transfer((source,), target, float(found.matrix.values[s, t]))
        for s, source in enumerate(matrix.sources)
        for t, target in enumerate(matrix.targets)
    ]
    higher = [t for t in transfers if t.order > 1]
    file = write_transfers([*single, *higher], own.out or own.table.with_name(f"{own.table.stem}_completed.csv"))
    Console().print(completion_table(found, own.method, len(higher)).rich())
    print(file)


def _votes(args: list[str]) -> None:
    """Weigh what raters say: what is true of items (Dawid and Skene), or how good they are (Bradley and Terry)."""
    parser = Parser("transfer votes", "FILE.csv", _votes.__doc__)
    parser.add_argument("table", type=Path, help=f"{ANSWERS}[,count], or {PAIRS}[,count], below such a heading")
    labels = f"of {ANSWERS}: all that an answer may be (default: what was answered)"
    parser.add_argument("--labels", nargs="+", default=[], help=labels)
    starts = f"of {ANSWERS}: 1, shares of votes (default); more: with chance as well"
    parser.add_argument("--starts", type=int, default=1, help=starts)
    parser.add_argument("--seed", type=int, default=0, help="of further starts (default 0)")
    prior = f"of {PAIRS}: so many ties of each item with an average one are added (default 0)"
    parser.add_argument("--prior", type=float, default=0.0, help=prior)
    parser.add_argument("--out", type=Path, help="folder of the results (default: beside the file)")
    own = parser.parse_args(args)
    _check(own.table)
    from rich.console import Console

    from pretext.transfer.answers import heading
    from pretext.transfer.preferences import COLUMNS

    pairs, stem = heading(own.table) == COLUMNS, (own.out or own.table.parent) / own.table.stem
    lost = [
        f"--{name}"
        for name in (("labels", "starts") if pairs else ("prior",))
        if getattr(own, name) != parser.get_default(name)
    ]
    if lost:
        raise ValueError(
            f"{own.table} holds {PAIRS if pairs else ANSWERS}, of which there is no {lost[0]}; leave it out"
        )
    command = shlex.join(["pretext", "transfer", "votes", *args])
    tables, files = _preferred(own, stem, command) if pairs else _judged(own, stem, command)
    for table in tables:
        Console().print(table.rich())
    print("look:", *files)


def _judged(own: argparse.Namespace, stem: Path, command: str) -> tuple[list[Table], list[Path]]:
    """Find what is true of items that raters disagree about, and how good each rater is."""
    from pretext.report.votes import SHOWN, rater_table, shares_table, summary_table, truth_table, write_all
    from pretext.transfer.correlations import is_about_pairs, of_votes
    from pretext.transfer.tables import write_transfers
    from pretext.transfer.votes import dawid_skene, read_votes

    found = dawid_skene(read_votes(own.table, own.labels), own.starts, own.seed)
    files = write_all(found, stem, command)
    if is_about_pairs(found):
        files.append(write_transfers(of_votes(found).transfers, stem.with_name(f"{stem.name}_correlations.csv")))
    raters = [rater_table(found, k) for k in range(len(found.votes.raters))]
    return [truth_table(found, SHOWN), *raters, summary_table(found), shares_table(found)], files


def _preferred(own: argparse.Namespace, stem: Path, command: str) -> tuple[list[Table], list[Path]]:
    """Find how good items are that raters preferred one to another."""
    from pretext.report.preferences import rater_table, strength_table, write_all
    from pretext.report.votes import SHOWN
    from pretext.transfer.correlations import are_pairs, of_preferences
    from pretext.transfer.preferences import bradley_terry, read_preferences
    from pretext.transfer.tables import write_transfers

    found = bradley_terry(read_preferences(own.table), own.prior)
    files = write_all(found, stem, command)
    if are_pairs(found.preferences.items):
        files.append(write_transfers(of_preferences(found).transfers, stem.with_name(f"{stem.name}_correlations.csv")))
    return [strength_table(found, SHOWN), rater_table(found)], files


def _predict(args: list[str]) -> None:
    """Predict the networks of tasks without labels, and write predict.html, .csv and .json."""
    parser = Parser("transfer predict", "SUITE.yaml", _predict.__doc__)
    parser.add_argument("suite", help="a file, or a packaged one such as transfer/photos: tasks, data, correlations")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/predict/<the file's name>)")
    parser.add_argument("--study", type=int, nargs="+", default=[], metavar="SOURCES", help="numbers of sources to try")
    parser.add_argument("--draws", type=int, default=3, help="sets of sources of each such number (default 3)")
    own = parser.parse_args(args)
    file = find_config(own.suite)
    _check_kind(file, "tasks")
    from filelock import FileLock

    from pretext.report.task_transfer import write_all
    from pretext.training.callbacks.record import environment
    from pretext.transfer.task_transfer.runner import Predictor
    from pretext.transfer.task_transfer.suite import read_task_suite

    folder = own.out or Path("runs") / "predict" / file.stem
    shop = Predictor(read_task_suite(file), folder, own.study, own.draws)
    folder.mkdir(parents=True, exist_ok=True)
    command, facts = shlex.join(["pretext", "transfer", "predict", *args]), environment()

    def write() -> None:
        with FileLock(folder / "predict.lock"):  # several processes may share the work
            write_all(shop.results(), folder, command, facts)

    shop.work(write)
    write()
    for warning in (one.warning for one in shop.results().done if one.warning):
        print(f"transfer predict: {warning}", file=sys.stderr)
    print(f"look: {folder / 'predict.html'} (also .csv and .json)")


def _check(table: Path) -> None:
    """Refuse a table that is not there, before anything slow is imported."""
    if not table.is_file():
        raise FileNotFoundError(f"transfer: no file {table}")


def _check_kind(file: Path, wanted: str) -> None:
    """Refuse a YAML of another verb; what is in one of this verb is checked where it is read."""
    content = plain(file)
    for key, said in KINDS.items():
        if key != wanted and wanted not in content and content.get(key):
            raise ValueError(f"{file} is {said} {file}")
