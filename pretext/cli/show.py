"""`pretext show`: draw what the tasks of a run or a config ask."""

from __future__ import annotations

from pathlib import Path

from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import ready
from pretext.core.runs import CONFIG, LAST, find


def main(args: list[str]) -> None:
    """Draw what the tasks of a run or a config ask. Further options, such as --data.root DIR, override the config's."""
    name, rest = run_of(args)
    parser = Parser("show", "[RUN]", main.__doc__)
    parser.add_argument("-c", "--config", help="a config instead of a run, to look before training")
    parser.add_argument("--out", type=Path, help="the picture (default: puzzles.png, in the run if there is one)")
    parser.add_argument("--count", type=int, default=6, help="puzzles per task (default 6)")
    own, _ = parser.parse_known_args(rest)
    if (name is None) == (own.config is None):
        raise ValueError("give either a run, before any option, or -c CONFIG")
    run = find(name) if name else None
    own, options = parser.parse_known_args(ready(rest))
    from pretext.evaluation.kept import kept
    from pretext.report.verdicts import of_probe
    from pretext.training.loaders import taken
    from pretext.training.other_data import with_own_data
    from pretext.training.run import build, read, restore
    from pretext.verbs.looking import draw

    config = read(run / CONFIG if run else own.config)
    module, data = build(with_own_data(config, options) if run else config, options)
    if data is None:
        raise ValueError("the config names no data; add --data CLASS")
    trained = run is not None and (run / LAST).exists()
    if run is not None and trained:
        restore(module, run)
    pages = draw(module, taken(data), own.count, trained, own.out or (run or Path()) / "puzzles.png")
    files = ", ".join(map(str, pages))
    print(f"look: {files}; {f'measure: pretext probe {run}' if run else f'train: pretext fit -c {own.config}'}")
    for file, result in (kept(run) if run else {}).items():
        print(f"{file}: {of_probe(result)[0]}")
