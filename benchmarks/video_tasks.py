"""Every task on clips and sound under one equal budget: is its puzzle learnt, and what does its network know after it?

For each set, task and seed: `pretext fit` with the shipped config, cut to the same number of steps and the same number
of *clips through the networks* per step; a question counts by its multiplications, a clip of 8 frames being one. Then
every stage of the rgb network is probed as `pretext probe` does, three clips a video averaged. Beside them: the same
network at random initialisation and trained on labels with the same budget, and the clips as they are. All modalities
and tasks at once (`elo`) get SEVERAL times that budget, with and without its distillations. Labels of the training
videos only fit the probes; k, L2 strength and the best stage are chosen on a fifth of them; the test videos are scored
once. A finished cell is kept, an unfinished run is resumed: the same command goes on after a kill.

Tasks on pictures alone are compared on arid6, those with sound or flow on lrwar, and all of them on Bouncing, which
makes its own videos.

    python benchmarks/video_tasks.py --root DATA       # DATA holds arid6/ and lrwar/
    python benchmarks/video_tasks.py --sets bouncing   # needs no data
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from shared import interval, must, save, train_on_labels
from torch.utils.flop_counter import FlopCounterMode

from pretext.commands.probe import SPLITS, score_stages
from pretext.evaluation.embed import embed, raw_input
from pretext.module import Pretrainer
from pretext.rng import rng
from pretext.run import CONFIG, build, read, restore

Row = dict[str, Any]
CONFIGS = Path(__file__).parents[1] / "configs"
CLIPS, STEPS = 32, 240  # through the networks per step, and steps
SEVERAL = 4  # times that budget for all tasks at once
ROUNDS = 8  # puzzles of each held-out video: few are held out
MANY = 8  # videos in a batch of all tasks at once
CLIP = (1, 3, 8, 64, 64)
VIDEO = tuple(
    f"video/{name}"
    for name in (
        "shuffle_and_learn",
        "arrow_of_time",
        "clip_order",
        "odd_one_out",
        "future_prediction",
        "reconstruction",
        "rotation",
        "colorization",
    )
)
SOUND = tuple(
    f"audio_visual/{name}"
    for name in ("alignment", "alignment_contrastive", "embed", "cross_modal_prediction", "distillation")
)
ALL = ("elo without distillation", "elo")
OTHERS = ("random", "supervised")


class Setting(NamedTuple):
    """What is trained on a data set, and the options that bring every config to it."""

    kinds: tuple[str, ...]
    data: tuple[str, ...]
    own: tuple[str, ...] = ()


DARK = ("--model.backbone.init_args.mean", "[0.07, 0.07, 0.07]", "--model.backbone.init_args.std", "[0.07, 0.07, 0.07]")
BOUNCING = ("datamodules.Bouncing", "--data.fps", "12.5", "--data.canvas", "64")  # a slow ball hits about once a second
SETTINGS = {  # arid6 was filmed in the dark: by the usual constants all of it would lie in a tenth of the range
    "arid6": Setting((*OTHERS, *VIDEO), (str(CONFIGS / "data" / "arid6.yaml"),), DARK),
    "lrwar": Setting((*OTHERS, *SOUND, *ALL), (str(CONFIGS / "data" / "lrwar.yaml"),)),
    "bouncing": Setting((*OTHERS, *VIDEO, *SOUND), BOUNCING),
}


def options(kind: str, name: str, root: Path, cache: Path, seed: int) -> list[str]:
    """Bring a config to a data set."""
    wanted = read(config_of(kind))["data"]["init_args"].get("modalities", ["rgb"])
    data = ["--data", *SETTINGS[name].data, "--data.root", str(root / name), "--data.cache", str(cache)]
    data += ["--data.modalities", f"[{', '.join(wanted)}]"]
    return [*data, *SETTINGS[name].own, "--seed_everything", str(seed)]


def config_of(kind: str) -> Path:
    """Find the config of a row; what is compared with has that of the first task."""
    if kind in ALL:
        return CONFIGS / "audio_visual" / "elo.yaml"
    return CONFIGS / f"{VIDEO[0] if kind in OTHERS or kind == 'raw' else kind}.yaml"


def load(kind: str, args: list[str]) -> tuple[Pretrainer, Any]:
    """Build a config's module at random initialisation, and its data."""
    module, data = build(read(config_of(kind)), args)
    assert data is not None
    data.prepare_data()
    data.setup("fit")
    return module, data


def share(module: Pretrainer, data: Any) -> float:
    """Count the clips through the networks for each video of the loader, by multiplications."""
    x = module.view(next(iter(data.val_dataloader()))["x"])
    videos = len(next(iter(x.values())) if isinstance(x, dict) else x)
    with torch.no_grad(), FlopCounterMode(display=False) as all_tasks:
        for name, task in module.tasks.items():
            module.look(task.pose(x, rng("cpu", "share", name)).question)
    network, _ = module.network()
    with torch.no_grad(), FlopCounterMode(display=False) as one:
        network(torch.rand(CLIP) if network.axes == "thw" else torch.rand(CLIP)[:, :, 0].repeat(CLIP[2], 1, 1, 1))
    return float(all_tasks.get_total_flops() / videos / one.get_total_flops())


def pretrain(kind: str, args: list[str], run: Path) -> tuple[Pretrainer, Any]:
    """Train a shipped config within the budget, by the command line, as a user would."""
    module, data = load(kind, args)
    cost = share(module, data)
    batch = MANY if kind in ALL else max(2, round(CLIPS / cost))
    steps = round(SEVERAL * STEPS * CLIPS / cost / batch) if kind in ALL else STEPS
    if not (run / "done").exists():
        resume = ["--ckpt_path", "last"] if (run / "checkpoints" / "last.ckpt").exists() else []
        budget = ["--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1", "--data.batch_size", str(batch)]
        kept = ["--trainer.default_root_dir", str(run), "--checkpoint.every_n_steps", "50"]
        if kind == ALL[0]:
            off = ", ".join(f"{name}: 0" for name in module.tasks if name.startswith("distill"))
            kept += ["--model.weighting.init_args.weights", f"{{{off}}}"]
        start = time.perf_counter()
        must(["fit", "-c", str(config_of(kind)), *args, *budget, *kept, *resume, "--trainer.limit_val_batches", "0"])
        (run / "done").write_text("resumed" if resume else f"{time.perf_counter() - start:.1f}")
    module, data = build(read(run / CONFIG))
    assert data is not None
    data.prepare_data()
    data.setup("fit")
    return restore(module, run), data


@torch.no_grad()
def examine(module: Pretrainer, data: Any) -> Row:
    """Grade every task on the held-out videos, `ROUNDS` puzzles of each, and a blind guess."""
    grades: dict[str, list[dict[str, float]]] = {name: [] for name in module.tasks}
    for index, batch in enumerate(data.val_dataloader()):
        x = module.view(batch["x"])
        for name, task in module.tasks.items():
            every = (module.exam(task, x, module.seed, "val", name, index, again) for again in range(ROUNDS))
            grades[name] += [_numbers(grade) for grade in every]
    return {
        name: {
            "scores": {key: statistics.fmean(grade[key] for grade in each) for key in each[0]},
            "chance": _numbers(module.tasks[name].chance()),
        }
        for name, each in grades.items()
    }


def _numbers(grade: Any) -> dict[str, float]:
    return {"loss": float(grade.loss), **{key: float(value) for key, value in grade.scores.items()}}


def probe(module: Pretrainer, name: str, root: Path, cache: Path, raw: bool = False) -> list[Row]:
    """Score every stage of the rgb network by linear probe and nearest neighbours."""
    network, modality = module.network()
    backbone = raw_input(network) if raw else network.eval()
    data, view = labelled(name, root, cache), partial(module.shown, modality=modality)
    train, test = (embed(backbone, data.ordered(split), view, title=f"embedding {split}") for split in SPLITS)
    return score_stages("raw" if raw else "network", train, test, torch.device("cpu"))


@lru_cache(maxsize=2)
def labelled(name: str, root: Path, cache: Path) -> Any:
    """Keep the videos that probes are fitted and tested on, rgb alone."""
    return load("random", options("random", name, root, cache, 0))[1]


def cell(kind: str, name: str, root: Path, cache: Path, seed: int, run: Path) -> Row:
    """Fill one cell of the table: a task, or what it is compared with."""
    args = options(kind, name, root, cache, seed)
    if kind not in (*OTHERS, "raw"):
        module, data = pretrain(kind, args, run)
        told = (run / "done").read_text()
        seconds = None if told == "resumed" else float(told)
        return {"seconds": seconds, "tasks": examine(module, data), "rows": probe(module, name, root, cache)}
    module, data = load("random", args)
    start = time.perf_counter()
    if kind == "supervised":
        train_on_labels(module, data, STEPS, CLIPS, frames=CLIP[2])
    module.canvas = next(iter(data.val_dataloader()))["x"].shape[-1]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows": probe(module, name, root, cache, raw=kind == "raw")}


def cells(name: str, seeds: list[int]) -> Iterator[tuple[str, int]]:
    """List what is in the table, seed by seed, so that a table that is stopped early has every task."""
    for seed in seeds:
        yield from ((kind, seed) for kind in (*SETTINGS[name].kinds, *(["raw"] if seed == seeds[0] else [])))


def best(rows: list[Row], how: str) -> Row:
    """Find the stage that is best on the validation share of train."""
    return max(rows, key=lambda row: row[how]["validation"])


def score(results: list[Row], task: str) -> str:
    """Tell a task's main score on held-out videos, and that of a blind guess."""
    told = [result["tasks"][task] for result in results]
    key = next((key for key in ("accuracy", "balanced_accuracy", "ranking") if key in told[0]["scores"]), "loss")
    values, chance = [each["scores"][key] for each in told], told[0]["chance"][key]
    if key == "loss":
        return f"loss {interval([value / 100 for value in values], 2)} (blind {chance:.2f})"
    return f"{key.replace('_', ' ')} {interval(values)} % (blind {100 * chance:.1f})"


def table(name: str, runs: Path, seeds: list[int]) -> list[str]:
    """Gather the finished cells of a set into one Markdown table."""
    found: dict[str, list[Row]] = {}
    for kind, seed in cells(name, seeds):
        file = runs / f"{stem(kind, seed)}.json"
        if file.exists():
            found.setdefault(kind, []).append(json.loads(file.read_text()))
    stages = [row["stage"] for row in found.get("random", next(iter(found.values())))[0]["rows"]]
    head = ["task", "seeds", "held-out pretext score", "best stage", "linear, best", "kNN, best", *stages, "s"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for kind, results in found.items():
        chosen = [best(result["rows"], "linear") for result in results]
        near = [best(result["rows"], "knn")["knn"]["accuracy"] for result in results]
        every = []
        for stage in stages:
            values = [row["linear"]["accuracy"] for r in results for row in r["rows"] if row["stage"] == stage]
            every.append(f"{100 * statistics.fmean(values):.1f}" if values else "")
        tasks = list(results[0].get("tasks", ()))
        each = (f"{task}: {score(results, task)}" for task in tasks)
        told = score(results, tasks[0]) if len(tasks) == 1 else "see below" if kind in ALL else "; ".join(each)
        seconds = [result["seconds"] for result in results if result["seconds"]]
        spent = f"{statistics.median(seconds):.0f}" if seconds else ""
        linear = interval([row["linear"]["accuracy"] for row in chosen])
        stage = statistics.mode(row["stage"] for row in chosen)
        row = [kind, str(len(results)), told, stage, linear, interval(near), *every, spent]
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, *_together(found)]


def _together(found: dict[str, list[Row]]) -> list[str]:
    """Tell how each task went where all were trained at once."""
    kinds = [kind for kind in ALL if kind in found]
    if not kinds:
        return []
    lines = ["", f"| task, all at once | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for task in found[kinds[0]][0]["tasks"]:
        lines.append(f"| {task} | {' | '.join(score(found[kind], task) for kind in kinds)} |")
    return lines


def stem(kind: str, seed: int) -> str:
    """Name the files of a cell."""
    return f"{kind}-{seed}".replace(" ", "-").replace("/", "-")


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark-video-tasks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--tasks", nargs="+", help="only these rows")
    own = parser.parse_args()
    real = [name for name in own.sets if name != "bouncing"]
    missing = [name for name in real if own.root is None or not (Path(own.root) / name).is_dir()]
    if missing:
        raise SystemExit(f"--root (or PRETEXT_DATA) must name a folder that holds {' and '.join(missing)}")
    lines: list[str] = []
    todo = [(name, kind, seed) for seed in own.seeds for name in own.sets for kind, seed in cells(name, [seed])]
    for name, kind, seed in todo:  # seed by seed, so that a table that is stopped early has every row
        file = own.runs / name / f"{stem(kind, seed)}.json"
        if not file.exists() and (not own.tasks or kind in own.tasks) and (kind != "raw" or seed == own.seeds[0]):
            print(f"{name}: {kind}, seed {seed}", flush=True)
            root = own.runs if name == "bouncing" else Path(own.root)
            save(file, cell(kind, name, root, own.runs / "cache", seed, file.with_suffix("")))
    for name in own.sets:
        lines += [name, "", *table(name, own.runs / name, own.seeds), ""]
    print(*lines, sep="\n")
    own.runs.mkdir(parents=True, exist_ok=True)
    (own.runs / "tables.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
