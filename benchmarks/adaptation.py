"""How much of the gap between two domains does adaptation close?

    python benchmarks/adaptation.py [--root DATA] [--only digits|photos|shapes] [--seeds N] [--processes 2] [--dry]

Digits -> the same digits over noise needs no data. Photos -> drawings of the edges of other photos of their classes
wants DATA/cifar10 (README.md says where from), and is left out without `--root`. Shapes -> shapes in another style are
drawn here, and segmented.

What is finished stands in results/adaptation/cells/, one small JSON for each run; start it again to go on after a
kill, or in a second process to share the work. adaptation.json has all that is said of them. `--dry` does everything
in small.

Each method has two settings. With seed 0 both are trained, and the one whose source validation accuracy and
information in predictions on the target come to more is trained with the other seeds, as epochs are chosen; no label of
a target is looked at before the test. Photos take the
settings that digits chose. Beside the methods stand source only, train on target (whose labels take the place of the
source's), subspace alignment of the features of source only, and "batch norm of both": the network looks at both
domains in one batch as with DANN, but lambda is next to nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shared import interval, must, save

from pretext.evaluation.adaptation import gap_closed
from pretext.jobs.files import FileJob, finish, read_result
from pretext.nn.self_information import Told
from pretext.supervised.adaptation.selection import Chosen

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "adaptation" / "cells", HERE / "adaptation.json"
CONFIGS = HERE.parent / "configs" / "adaptation"
SOURCE, TARGET, ALIGNED = "source only", "train on target", "subspace alignment"
NOTHING = 1e-12


class Row(NamedTuple):
    """A row of a table: its config, and the settings to choose from."""

    config: str
    settings: tuple[tuple[str, ...], ...] = ((),)


METHODS = {
    SOURCE: Row("source_only"),
    TARGET: Row("source_only", (("--data.labelled", "target"),)),
    "batch norm of both": Row("dann", (("--model.method.weight", str(NOTHING)),)),
    "DANN": Row("dann", tuple(("--model.method.weight", w) for w in ("0.3", "1"))),
    "rotation as the bridge": Row("bridge", tuple(("--model.method.weight", w) for w in ("0.3", "1"))),
    "MinEnt": Row("minent", tuple(("--model.method.weight", w) for w in ("0.03", "0.3"))),
    "MinEnt, class prior": Row(
        "minent", tuple(("--model.method.weight", w, "--model.method.prior", "0.5") for w in ("0.03", "0.3"))
    ),
}
MASKS = {
    SOURCE: Row("advent", (("--model.adversarial", "0"),)),
    TARGET: Row("advent", (("--model.adversarial", "0", "--data.labelled", "target"),)),
    "batch norm of both": Row("advent", (("--model.adversarial", "0", "--model.entropy", str(NOTHING)),)),
    "MinEnt": Row("advent", (("--model.adversarial", "0", "--model.entropy", "0.01"),)),
    "MinEnt, class prior": Row(
        "advent", (("--model.adversarial", "0", "--model.entropy", "0.01", "--model.prior", "0.5"),)
    ),
    "AdvEnt": Row("advent", tuple(("--model.adversarial", w) for w in ("0.001", "0.01"))),
}
ROWS = {"digits": METHODS, "photos": METHODS, "shapes": MASKS}


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool, seeds: int) -> None:
        self.seeds = 1 if dry else seeds
        self.epochs = {"digits": 1, "photos": 1, "shapes": 1} if dry else {"digits": 25, "photos": 12, "shapes": 20}
        self.photos, self.shapes, self.limit = (40, 40, 64) if dry else (2500, 600, 2000)


def data_of(part: str, args: argparse.Namespace, plan: Plan) -> list[str]:
    """Say where a part's domains are, drawing shapes where they are not yet."""
    if part == "digits":
        sides = [("source", "plain"), ("target", "m")]
        words = [
            (f"--data.{side}", "datamodules.Digits", f"--data.{side}.size", "16", f"--data.{side}.domain", domain)
            for side, domain in sides
        ]
        small = [f"--data.{side}.split.limit={plan.limit}" for side, _ in sides]
        return [*(word for pair in words for word in pair), *small]
    if part == "photos":
        root = ("--data.source", str(args.root / "cifar10"), "--data.target", "null", "--data.variant", "edges")
        return [*root, "--data.split.limit", str(plan.photos), "--data.batch_size", "64"]
    return shapes_of(args, plan)


def shapes_of(args: argparse.Namespace, plan: Plan) -> list[str]:
    """Draw shapes in two styles, other ones in each, and name their folders."""
    from pretext.views.latent.shapes import Shapes

    words: list[str] = []
    for seed, (side, style) in enumerate((("source", "flat"), ("target", "textured"))):
        folder = args.out / f"shapes-{style}-{plan.shapes}"
        if not folder.exists():
            Shapes(32, style).write(folder, plan.shapes, seed)  # type: ignore[arg-type]  # of a list of pairs
        names = json.dumps(["ground", *Shapes.classes])
        at = f"--data.{side}"
        words += [at, "datamodules.PairedFiles", f"{at}.root", str(folder), f"{at}.targets", "masks"]
        words += [f"{at}.classes", names, f"{at}.canvas", "32", f"{at}.reading.workers", "1"]
    return [*words, "--data.batch_size", "32"]


def jobs(part: str, names: Sequence[str], args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List the runs of some rows: with seed 0 all settings, with the others the chosen one."""
    for seed in range(plan.seeds):
        for name in names:
            row = ROWS[part][name]
            every = range(len(row.settings))
            wanted = every if seed == 0 and part != "photos" else [chosen(part, name, args)]
            for setting in (k for k in wanted if k is not None):
                yield FileJob(
                    f"{part}: {name}, setting {setting}, seed {seed}",
                    file_of(part, name, setting, seed, args),
                    lambda n=name, k=setting, s=seed: trained(part, n, k, s, args, plan),
                    lambda reason: {"failed": reason},
                )


def file_of(part: str, name: str, setting: int, seed: int, args: argparse.Namespace) -> Path:
    """Name the file of a run's result."""
    cells: Path = args.cells
    return cells / part / f"{name.replace(' ', '-')}-{setting}-{seed}.json"


def chosen(part: str, name: str, args: argparse.Namespace) -> int | None:
    """Choose a row's setting as an epoch is chosen, by seed 0's validation; None where nothing is known yet."""
    settings = ROWS[part][name].settings
    if len(settings) == 1:
        return 0
    where = "digits" if part == "photos" else part
    found = {k: read_result(file_of(where, name, k, 0, args)) for k in range(len(settings))}
    known = {k: one for k, one in found.items() if one and "validation" in one}
    scores = {k: Chosen(one["validation"], Told(one["entropy"], one["diversity"])).score for k, one in known.items()}
    return max(scores, key=lambda k: scores[k]) if len(scores) == len(settings) else None


def trained(part: str, name: str, setting: int, seed: int, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Train and test a run, or go on with it, and return what its score says."""
    row, started = ROWS[part][name], time.process_time()
    run = args.out / part / f"{name.replace(' ', '-')}-{setting}-{seed}"
    if (run / "config.yaml").exists():
        must(["fit", str(run)])
    else:
        own = [*data_of(part, args, plan), *row.settings[setting], "--seed_everything", str(seed)]
        own += ["--trainer.max_epochs", str(plan.epochs[part]), "--trainer.accelerator", "cpu"]
        must(["fit", "-c", str(CONFIGS / f"{row.config}.yaml"), *own, "--trainer.default_root_dir", str(run)])
    must(["test", str(run)])
    score = json.loads((run / "score.json").read_text())
    measure = "miou" if part == "shapes" else "accuracy"
    kept = {"score": score[measure], "source": score["source"][measure]}
    facts = ("low", "high", "validation", "entropy", "diversity", "epoch", "items", "chance")
    kept |= {key: score.get(key) for key in facts}
    aligned = [one for one in score["rows"] if one["name"].startswith(ALIGNED)]
    if aligned:
        kept |= {ALIGNED: aligned[0]["accuracy"], "axes": aligned[0]["name"]}
    return {"options": list(row.settings[setting]), **kept, "cpu, s": round(time.process_time() - started, 1)}


def results(part: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Say of each row what it scores on the target, and how much of the gap it closes."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ROWS[part]:
        setting = chosen(part, name, args)
        known = [read_result(file_of(part, name, setting or 0, seed, args)) for seed in range(plan.seeds)]
        found[name] = [] if setting is None else [one for one in known if one and "score" in one]
    said = {name: row_of([one["score"] for one in runs], found, runs) for name, runs in found.items() if runs}
    if part != "shapes" and found[SOURCE]:
        said[ALIGNED] = row_of([one[ALIGNED] for one in found[SOURCE]], found, found[SOURCE])
    return said


def row_of(scores: list[float], found: dict[str, list[dict[str, Any]]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up a row over seeds; the gap is each seed's own, from source only to train on target."""
    ends = zip(scores, found[SOURCE], found[TARGET], strict=False)
    shares = [gap_closed(mine, low["score"], high["score"]) for mine, low, high in ends]
    whole = [share for share in shares if share is not None]
    return {
        "target, %": interval(scores),
        "gap closed, %": interval(whole) if whole else None,
        "source, %": interval([one["source"] for one in runs]),
        "seeds": len(scores),
        "options": " ".join(runs[0]["options"]),
        "chance, %": round(100 * runs[0]["chance"], 1),
    }


def work(args: argparse.Namespace, plan: Plan) -> None:
    """Do what is left, sharing it with other processes, part by part."""
    for part, rows in ROWS.items():
        if args.only not in (None, part) or (part == "photos" and args.root is None):
            continue
        for _ in range(2):  # the second time settings are chosen
            finish(list(jobs(part, list(rows), args, plan)), lambda job: job, lambda: write(args, plan), "adaptation")
    write(args, plan)


def write(args: argparse.Namespace, plan: Plan) -> None:
    """Write all that can be said so far."""
    about = {"command": "python benchmarks/adaptation.py --root DATA", "plan": vars(plan)}
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    tables = {part: results(part, args, plan) for part in ROWS}
    save(file, {**about, **{part: table for part, table in tables.items() if table}})


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and work, in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/adaptation-benchmark"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--only", choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    if args.dry and args.cells == CELLS:
        parser.error("--dry: name another folder for its cells, --cells DIR")
    args.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, *(words or sys.argv[1:]), "--processes", "1"]  # the last one counts
    others = [subprocess.Popen(command) for _ in range(args.processes - 1)]
    work(args, Plan(args.dry, args.seeds))
    if any(process.wait() for process in others):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
