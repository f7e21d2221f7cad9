"""Which tasks are answered without seeing? Every shipped task on the data that it is for, by `pretext audit`.

Thirteen tasks of pictures on CIFAR-10, nine of them on photos, those in time on arid6, those across modalities (and
sound in time) on lrwar. What is finished stays in benchmarks/audit/<set>/<task>/ as small JSON and is not done again.

    python benchmarks/audit.py --root DATA [--only SET ...]      # DATA holds cifar10/, clothing10/, arid6/ and lrwar/
    python benchmarks/audit.py --table                           # print what there is
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from pretext.audit.controls import CONTROLS
from pretext.audit.results import TaskAudit
from pretext.audit.run import audit
from pretext.report.table import Cell, Column, Row, Table
from pretext.training.run import read

HERE = Path(__file__).resolve().parent
CONFIGS, RESULTS = HERE.parent / "configs", HERE / "audit"
PICTURES = ("rotation", "jigsaw", "relative_position", "inpainting", "colorization", "split_brain", "counting")
PICTURES += ("super_resolution", "contrast")
DRAWN = ("autoencoding", "denoising", "edges", "keypoints")
TIME = ("rotation", "arrow_of_time", "clip_order", "odd_one_out", "shuffle_and_learn", "future_prediction")
TIME += ("reconstruction", "colorization", "order_of_frames", "shuffle_and_learn_frames")
ACROSS = ("alignment", "alignment_contrastive", "embed", "cross_modal_prediction", "distillation")
SHORT = {"nothing": "nothing", "noise": "noise", "constant": "colour", "destroyed": "destroyed", "borders": "border"}
SHORT |= {"moments": "means", "blocks": "phase", "blocks shifted": "shift", "spectrum": "resize"}
SHORT |= {"kernels swapped": "kernel", "aberration": "lens", "energy": "energy", "stillness": "still", "fade": "fade"}


class Set(NamedTuple):
    """Configs, and what brings them to a set of data."""

    folder: str
    names: tuple[str, ...]
    options: dict[str, object]
    budget: int


HEARD = {"data__modalities": "[audio]", "data__windows__fps": 25, "data__windows__frames": 28}  # the whole word


def _videos(name: str, **more: object) -> dict[str, object]:
    here = {"data": str(CONFIGS / "data" / f"{name}.yaml"), "data.root": name, "data.split.val": 0.33}
    return {**here, **{key.replace("__", "."): value for key, value in more.items()}}


SETS = {
    "cifar10": Set(
        "image", PICTURES + DRAWN, {"data.root": "cifar10", "data.split.limit": 6000, "data.split.val": 0.17}, 150
    ),
    "clothing10": Set("image/photos", PICTURES, {"data.root": "clothing10", "data.split.val": 0.25}, 80),
    "arid6": Set("video", TIME, _videos("arid6"), 80),
    "lrwar": Set("audio_visual", ACROSS, _videos("lrwar", data__split__limit=450), 80),
    "lrwar, sound": Set("audio", ("arrow_of_time",), _videos("lrwar", **HEARD), 80),
}  # fmt: skip


def run(name: str, only: list[str] | None) -> None:
    """Audit one set; a config that fails is told of and left out."""
    chosen = SETS[name]
    options = [f"--{key}={value}" for key, value in chosen.options.items()]
    for config in chosen.names:
        if only and config not in only:
            continue
        folder, begin = RESULTS / name.replace(", ", "_") / config, time.perf_counter()
        found, _ = audit(
            read(CONFIGS / chosen.folder / f"{config}.yaml"), options, folder, None, chosen.budget, lambda found: None
        )
        for one in found:
            print(f"{name}: {one.task}: {one.verdict}  # {time.perf_counter() - begin:.0f} s", flush=True)


def results(name: str) -> list[tuple[str, TaskAudit]]:
    """Read what there is of a set, by config."""
    files = [(config, RESULTS / name.replace(", ", "_") / config / "audit.json") for config in SETS[name].names]
    there = [(config, json.loads(file.read_text())["tasks"]) for config, file in files if file.exists()]
    return [(config.replace("_", " "), TaskAudit.from_json(one)) for config, tasks in there for one in tasks]


def table(name: str) -> Table:
    """Lay out shares in per cent, one row a task; bold where the control is accused."""
    audits = results(name)
    asked = [c for c in CONTROLS if any(f.score for _, one in audits for f in one.findings if f.name == c.name)]
    columns = [Column("Task", words=True), Column("Chance"), Column("Intact", "%")]
    columns += [Column(SHORT[control.name]) for control in asked]
    rows = []
    for config, one in audits:
        findings = {finding.name: finding for finding in one.findings}
        intact = Cell() if one.intact is None else Cell(one.intact.value, one.intact.low, one.intact.high)
        cells = [_share(findings[control.name]) for control in asked]
        rows.append(Row([config, f"{100 * one.chance:.1f}", intact, *cells]))
    return Table(name, columns, rows)


def _share(finding: object) -> Cell:
    share = getattr(finding, "share", None)
    if share is None:
        return Cell(text="above chance" if getattr(finding, "accused", False) else "-")
    text = f"{100 * share.value:.0f}"
    return Cell(share.value, text=f"{text} !" if getattr(finding, "accused", False) else text)


def main() -> None:
    """Audit what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--configs", nargs="+", help="of these sets (default: all)")
    parser.add_argument("--table", action="store_true")
    own = parser.parse_args()
    if not own.table:
        os.chdir(own.root)  # results are named by options, in which the folder shall not matter
        for name in own.only:
            run(name, own.configs)
    for name in own.only:
        drawn = table(name)
        print(f"\n### {name}\n\n{drawn.markdown()}\n")
        print("\n".join(f"- {config}: {one.verdict}" for config, one in results(name)))


if __name__ == "__main__":
    main()
