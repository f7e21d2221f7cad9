"""How much of Taskonomy's table of first-order transfers comes back when a part of it is hidden, and by which method?

    python benchmarks/recovery.py --table all_affinities_16k.csv      # 10 minutes of one core

The table is Taskonomy's (StanfordVL/taskonomy, results/affinities, as `sources,target,value`). Entries of a task to
itself, and of `self` and `random`, are left out: 550 stay. Rank and penalty of the low-rank method, rate and weight
decay of the others were chosen with seeds 100 to 104, which hide other entries than the reported seeds 0 to 4.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from scipy.special import stdtrit

from pretext.core.files import write_json
from pretext.transfer.completion import METHODS
from pretext.transfer.recovery import RecoveryScores, repeated
from pretext.transfer.tables import REFERENCES, Matrix, first_order, read_transfers

SHARES, SEEDS, REFITS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 5, 8
FIGURES = ("spearman", "kendall", "hit", "regret", "auc", "average_precision", "coverage")


def table(file: Path) -> Matrix:
    """Read the first-order transfers between different tasks."""
    return first_order([t for t in read_transfers(file) if t.sources[0] not in (*REFERENCES, t.target)])


def summary(scores: list[RecoveryScores]) -> dict[str, list[float]]:
    """Give mean and half the 95 % interval (Student's t over seeds) of each figure."""
    found = {}
    for figure in FIGURES:
        values = [float(getattr(score, figure)) for score in scores]
        found[figure] = [fmean(values), stdtrit(len(values) - 1, 0.975) * stdev(values) / math.sqrt(len(values))]
    return found


def main() -> None:
    """Measure, print the table of Spearman correlations, and write recovery.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="what is hidden")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("recovery.json"))
    options = parser.parse_args()
    matrix, results, runs, start = table(options.table), {}, {}, time.perf_counter()
    shares = options.shares
    print(f"| method | {' | '.join(f'{100 * share:.0f} % hidden' for share in shares)} |")
    for method in METHODS:
        scored = {share: repeated(matrix, method, share, SEEDS, REFITS) for share in shares}
        results[method] = {f"{share:g}": summary(scores) for share, scores in scored.items()}
        runs[method] = {f"{share:g}": [asdict(score) for score in scores] for share, scores in scored.items()}
        cells = [results[method][f"{share:g}"]["spearman"] for share in shares]
        print(f"| {method} | {' | '.join(f'{mean:.2f} ± {reach:.2f}' for mean, reach in cells)} |", flush=True)
    seconds = round(time.perf_counter() - start)
    constant = sum(score["constant"] for shares in runs.values() for scores in shares.values() for score in scores)
    facts = {"table": options.table.name, "seeds": SEEDS, "refits": REFITS, "seconds": seconds, "constant": constant}
    write_json(options.out, {**facts, "methods": results})
    print(f"{seconds} s, {constant} constant outputs")


if __name__ == "__main__":
    main()
