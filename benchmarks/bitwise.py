"""Does another commit give the same results, bit for bit? So a redesign that must change none is checked.

    python benchmarks/bitwise.py [COMMIT] [--only CASE ...] [--threads N] [--keep]

The commit (by default be181bd) is checked out beside this working tree, in a temporary folder that is removed
afterwards. Each case is run by the command line of either side, one after the other, on the same machine: the same
options, files and packages, the config files of each side's own. What is compared is the hash of every tensor that the
last checkpoint holds of the network and the optimiser, every figure that was logged but the speed, and of a probe every
figure of `probe.json` but seconds. The exit code is 1 where one differs.

All runs are on the CPU and, unless `--threads` says otherwise, with one thread (OMP_NUM_THREADS=1), on either side as
many: sums depend on how they are split, and several threads wait for each other where a machine has other work. Three
minutes of one core. What the networks learn means nothing: they are thin and take eight steps, on pictures and videos
that this script makes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
CLASSES = ("rings", "stripes", "checks")
TRAIN, TEST = 24, 10  # pictures of each class
ENDS = 1e-8  # Wilson's intervals are SciPy's since; until then the normal quantile had seven digits
SPEED = "items/s"  # the one column of metrics.csv that is no result
Facts = dict[str, str]
"""What must be the same, by name."""


class Case(NamedTuple):
    """What is run: the words of a command line, in which {out}, {run}, {pictures} and {own} stand for folders."""

    words: str
    of: str | None = None
    """The case whose run is looked at, {run}; it is run first."""


SHORT = (
    "--trainer.default_root_dir {out} --trainer.accelerator cpu --trainer.max_epochs 2 --trainer.log_every_n_steps 1 "
    "--trainer.enable_progress_bar false --seed_everything 1"
)
PICTURES = "--data.root {pictures} --data.batch_size 16"
THIN = "--model.backbone.init_args.width 0.25"
EXACT = "--trainer.precision 32-true"  # the other cases keep their config's bfloat16: both kinds are covered
CASES = {
    "rotation": Case(f"fit -c configs/image/rotation.yaml {SHORT} {PICTURES} {THIN} {EXACT}"),
    "jigsaw and position": Case(
        f"fit -c configs/image/jigsaw.yaml {SHORT} {PICTURES} {THIN} {EXACT} "
        "--model.tasks.position pretext.RelativePosition --model.tasks.position.init_args.jitter 0.1"
    ),
    "all": Case(f"fit -c configs/image/all.yaml {SHORT} {PICTURES}"),
    "bouncing": Case(
        f"fit -c configs/audio_visual/bouncing.yaml {SHORT} --data.root {{own}} --data.cache null "
        "--data.train_videos 16 --data.test_videos 8 --data.batch_size 4"
    ),
    "finetune": Case(
        f"fit -c configs/evaluation/finetune.yaml --model.run {{run}} {SHORT} {PICTURES} {EXACT}", of="rotation"
    ),
    "probe": Case(
        "probe {run} --out {out} --protocols linear knn low_label quality svm --views 1 --dims 256", of="rotation"
    ),
}


class Side(NamedTuple):
    """A checkout, and where its runs go."""

    name: str
    code: Path
    out: Path
    threads: int

    def python(self, *words: str) -> str:
        """Run Python on this side's code and return what it prints.

        Raises:
            SystemExit: it fails.

        """
        fixed = {"PYTHONPATH": str(self.code), "OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=self.code, env={**os.environ, **fixed}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def check(self) -> None:
        """Refuse to compare where Python would find another checkout's code, such as an installed one."""
        files = self.python("-c", "import pretext, datamodules; print(pretext.__file__); print(datamodules.__file__)")
        if strange := [file for file in files.split() if not Path(file).resolve().is_relative_to(self.code)]:
            raise SystemExit(f"{self.name}: Python imports {' and '.join(strange)}, not what lies in {self.code}")

    def run(self, name: str, pictures: Path) -> Facts:
        """Run a case and return what came of it."""
        case = CASES[name]
        places = {"out": self.folder(name), "pictures": pictures, "own": self.out / "made"}
        places |= {"run": self.folder(case.of)} if case.of else {}
        self.python("-m", "pretext", *(word.format(**places) for word in case.words.split()))
        return probed(places["out"]) if name == "probe" else {**weights(places["out"]), **logged(places["out"])}

    def folder(self, name: str) -> Path:
        """Return where a case's run lies."""
        return self.out / name.replace(" ", "-")


def weights(run: Path) -> Facts:
    """Hash every tensor of the network and of the optimiser in a run's last checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    kept = {"weight": checkpoint["state_dict"], "optimiser": [own["state"] for own in checkpoint["optimizer_states"]]}
    return {name: hashed(leaf) for name, leaf in flat(kept) if isinstance(leaf, torch.Tensor)}


def logged(run: Path) -> Facts:
    """Read every figure of a run's metrics.csv as it is written, by column and step."""
    with (run / "metrics.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    figures = {
        f"{column} at step {row['step']}": value
        for row in rows
        for column, value in row.items()
        if value and column not in ("step", "epoch", SPEED)
    }
    if broken := [name for name, value in figures.items() if not np.isfinite(float(value))]:
        raise SystemExit(f"{run}: {broken[0]} is not finite, so that nothing behind it can be compared")
    return figures


def probed(run: Path) -> Facts:
    """Read what a probe measured; what it says in words may be said otherwise."""
    probe = json.loads((run / "probe.json").read_text())
    measured = {key: probe[key] for key in ("rows", "low_label", "data")} | {"chance": probe["protocol"]["chance"]}
    return {name: repr(leaf) for name, leaf in flat(measured)}


def flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Name each leaf of nested dicts and lists by its path."""
    if isinstance(tree, Mapping | list):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from flat(value, f"{name} {key}".strip())
    else:
        yield name, tree


def hashed(tensor: torch.Tensor) -> str:
    """Hash a tensor's type, shape and bytes."""
    key = blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=8)
    key.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return key.hexdigest()


def verdict(old: Facts, new: Facts) -> str:
    """Return "equal", or the first thing that is not; tensors may have other names, which is told, figures may not."""
    if renamed := old.keys() ^ new.keys():
        first = min(renamed, key=lambda name: (is_tensor(name), name))
        same = is_tensor(first) and sorted(old.values()) == sorted(new.values())
        return f"{'equal, but for names' if same else 'different'}: only {'old' if first in old else 'new'} has {first}"
    wrong = [name for name in old if old[name] != new[name]]
    if not wrong:
        return "equal"
    if all(name.endswith((" low", " high")) for name in wrong):
        furthest = max(abs(float(old[name]) - float(new[name])) for name in wrong)
        if furthest <= ENDS:
            return f"equal, but for {len(wrong)} ends of intervals, by {furthest:.1e} at most"
    return f"{len(wrong)} differ, first {wrong[0]}: {old[wrong[0]]} and {new[wrong[0]]}"


def is_tensor(name: str) -> bool:
    """Tell a tensor's name from a figure's."""
    return name.startswith(("weight ", "optimiser "))


def draw(folder: Path) -> None:
    """Write small pictures with a pattern for each class, {train,test}/<class>/*.png; always the same ones."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:48]
    for split, count in (("train", TRAIN), ("test", TEST)):
        for kind in CLASSES:
            (folder / split / kind).mkdir(parents=True)
            for i in range(count):
                a, b, pace, phase = *generator.uniform(8, 32, 2), *generator.uniform((0.4, 0.0), (1.2, 6.0))
                waves = {"rings": np.hypot(x - a, y - b), "stripes": x + y * (a - 20) / 12, "checks": x}[kind]
                pattern = np.sin(pace * waves + phase) * (np.sin(pace * y) if kind == "checks" else 1.0)
                colours = generator.uniform(60, 195, 3) + generator.uniform(20, 60, 3) * pattern[..., None]
                noisy = np.clip(colours + generator.normal(0, 6, colours.shape), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / split / kind / f"{i}.png")


def chosen(only: list[str] | None) -> list[str]:
    """List the cases to run, each behind the one that it needs."""
    wanted = set(only or CASES)
    return [name for name in CASES if name in wanted | {CASES[own].of for own in wanted}]


def compare(sides: tuple[Side, Side], only: list[str] | None, pictures: Path) -> bool:
    """Run every case on either side, print a line of the table for each, and tell whether all are equal."""
    for side in sides:
        side.check()
    draw(pictures)
    print("| case | tensors | figures | |\n|---|--:|--:|---|")
    equal = True
    for name in chosen(only):
        old, new = (side.run(name, pictures) for side in sides)
        tensors = sum(map(is_tensor, old))
        told = verdict(old, new)
        equal &= told.startswith("equal")
        print(f"| {name} | {tensors} | {len(old) - tensors} | {told} |", flush=True)
    return equal


def main() -> int:
    """Check the commit out, compare, clear away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="be181bd")
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=1, help="of each run (default 1)")
    parser.add_argument("--keep", action="store_true", help="leave checkout and runs, and say where they are")
    own = parser.parse_args()
    git = ["git", "-C", str(HERE), "worktree"]
    with ExitStack() as last:
        home = Path(tempfile.mkdtemp(prefix="bitwise-"))
        if own.keep:
            print(f"kept in {home}", file=sys.stderr)
        else:
            last.callback(subprocess.run, ["rm", "-rf", str(home)], check=True)
            last.callback(subprocess.run, [*git, "remove", "--force", str(home / "code")], check=True)
        subprocess.run([*git, "add", "--quiet", "--detach", str(home / "code"), own.commit], check=True)
        here = Side("this working tree", HERE, home / "new", own.threads)
        sides = (Side(own.commit, home / "code", home / "old", own.threads), here)
        return 0 if compare(sides, own.only, home / "pictures") else 1


if __name__ == "__main__":
    sys.exit(main())
