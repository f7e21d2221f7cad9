"""`pretext cluster`: classes without labels, from clusters of a run's features."""

from __future__ import annotations

from pathlib import Path

from pretext.cli.parser import Parser, needed, run_of
from pretext.cli.preflight import ready
from pretext.core.runs import LAST, find


def main(args: list[str]) -> None:
    """Cluster training items by a run's features: classes to learn to learn from, without labels."""
    name, rest = run_of(args)
    parser = Parser("cluster", "RUN", main.__doc__)
    parser.add_argument("--clusters", type=int, default=50, help="how many (default 50)")
    more = "so many clusterings, of features that are scaled at random (default 1)"
    parser.add_argument("--partitions", type=int, default=1, help=more)
    parser.add_argument("--stage", help="whose features (default: the last)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone (default: the first)")
    parser.add_argument("--out", type=Path, help="the file (default: labels.json in the run)")
    parser.parse_known_args(rest)
    run = find(needed(name))
    own, options = parser.parse_known_args(ready(rest, run))
    if not (run / LAST).is_file():
        raise FileNotFoundError(f"no checkpoint {run / LAST}; train it first with `pretext fit {run}`")
    from pretext.verbs.clustering import cluster

    given = {"clusters": own.clusters, "partitions": own.partitions, "stage": own.stage, "modality": own.modality}
    file = cluster(run, options, **given, out=own.out)
    print(f"wrote {file}; learn to learn from it: pretext fit -c meta/maml --data.labels {file}")
