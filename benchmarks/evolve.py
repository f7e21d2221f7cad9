"""Does a search without labels find better mixtures of tasks than no search? Evolving Losses' table 4 and its ablation.

    python benchmarks/evolve.py --root DATA [--out runs/evolve-benchmark] [--only video|images]

Start it twice to use two cores (OMP_NUM_THREADS=1), start it again to go on. DATA is described in README.md.

Two studies, `configs/evolve/elo.yaml` on lrwar (its probes on arid6, as the paper trains on one set of videos and
measures on another) and `configs/evolve/images.yaml` on CIFAR-10. Every searcher gets as many candidates, each as many
steps. What they found is then trained anew for longer, beside the fittest single task and equal weights, with two
seeds, and probed by `pretext bench`; of the videos once more with the weights of the distillations at 0. At last equal
weights are trained for what a search cost as well. The fitness sees no label, and nothing is chosen by the probes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from omegaconf import OmegaConf
from scipy.stats import spearmanr
from shared import must, save
from yaml import safe_dump, safe_load

SEARCHERS = {"video": ("random", "cmaes"), "images": ("random", "tournament", "cmaes")}
CANDIDATES = 20
SEEDS = [0, 1]


class Study(NamedTuple):
    """A config to search in, what its candidates cost, and where what was found is measured."""

    config: str
    steps: int
    final: int
    """Training steps of what was found."""
    options: list[str]
    board: dict[str, Any]
    supervised: dict[str, Any]


def studies(root: Path, cache: Path) -> dict[str, Study]:
    """Describe both."""
    dark = {"data": "configs/data/arid6.yaml", "data.root": str(root / "arid6"), "data.disk.cache": str(cache)}
    dark |= {"data.modalities": ["rgb"], "data.windows.frames": 8, "data.windows.fps": 25, "data.canvas": 56}
    arid6 = safe_load(Path("configs/data/arid6.yaml").read_text())
    arid6["init_args"] |= {"root": str(root / "arid6"), "disk": {"cache": str(cache)}, "modalities": ["rgb"]}
    arid6["init_args"] |= {"windows": {"frames": 8, "fps": 25}, "sampling": {"clips": 3}, "canvas": 56, "batch_size": 8}
    clips = ["--data", "configs/data/lrwar.yaml", "--data.root", str(root / "lrwar"), "--data.disk.cache", str(cache)]
    clips += ["--probe_data", json.dumps(arid6)]
    net: dict[str, Any] = {"layers": [1, 1, 1, 1], "bottleneck": False, "width": 0.25, "stem": "small"}
    adam = {"model.optim.optimizer": "torch.optim.AdamW", "model.optim.optimizer.init_args": {"lr": 0.001}}
    labels = {"model.backbone": "pretext.R2Plus1D", "model.backbone.init_args": net, **adam, **dark}
    labels |= {"model.augment.init_args": {"crop": 48}, "data.batch_size": 32}
    small = {"data": "datamodules.ImageFolder", "data.root": str(root / "cifar10"), "data.canvas": 32}
    pictures: dict[str, Any] = {"name": "resnet18", "stem": "small", "stem_stride": 2, "width": 0.25}
    shown = {"model.backbone.init_args": pictures, **adam, "data.batch_size": 128, "data.split.limit": 5000}
    shown |= {"data.root": str(root / "cifar10"), "model.augment.init_args.pad": 0}
    return {
        "video": Study("configs/evolve/elo.yaml", 50, 150, clips, {**dark, "data.sampling.clips": 3}, labels),
        "images": Study(
            "configs/evolve/images.yaml",
            60,
            240,
            ["--data.root", str(root / "cifar10"), "--data.split.limit", "5000"],
            {**small, "data.split.limit": 5000},
            shown,
        ),
    }


def search(name: str, study: Study, out: Path) -> None:
    """Run every search of a study, one after the other; several processes share each."""
    for kind in SEARCHERS[name]:
        own = ["--candidates", str(CANDIDATES), "--steps", str(study.steps), "--searcher", kind]
        must(
            ["evolve", "-c", study.config, *study.options, *own, "--out", str(out / kind), "--study", f"{name}-{kind}"]
        )


def best_configs(out: Path) -> dict[str, dict[str, Any]]:
    """Gather the configs to compare: each searcher's fittest searched one, and the controls."""
    configs: dict[str, dict[str, Any]] = {}
    for kind in sorted(p.parent.name for p in out.glob("*/candidates.json")):
        done = [c for c in json.loads((out / kind / "candidates.json").read_text()) if c["state"] == "done"]
        best = max((c for c in done if c["control"] is None), key=lambda c: c["fitness"])
        configs[f"{kind} search"] = mixture(out / kind, best["weights"])
        alone = max((c for c in done if (c["control"] or "").endswith(" alone")), key=lambda c: c["fitness"])
        configs["best single task"] = mixture(out / kind, alone["weights"])
        configs["equal weights"] = mixture(out / kind, dict.fromkeys(alone["weights"], 1.0))
    return configs


def mixture(folder: Path, weights: Mapping[str, float]) -> dict[str, Any]:
    """Return the config of a study with other weights."""
    config = deepcopy(safe_load((folder / "best.yaml").read_text()))
    config["model"]["weighting"]["init_args"]["weights"] = dict(weights)
    return config


def undistilled(configs: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each mixture without its distillations, where it has any and something else is left."""
    for name, config in configs.items():
        weights = config["model"]["weighting"]["init_args"]["weights"]
        rest = {task: 0.0 if task.startswith("distill") else weight for task, weight in weights.items()}
        if rest != weights and any(rest.values()):
            config = deepcopy(config)
            config["model"]["weighting"]["init_args"]["weights"] = rest
            yield f"{name}, no distillation", config


def compare(name: str, study: Study, out: Path) -> None:
    """Train what was found for longer, and probe it."""
    found = best_configs(out)
    configs = {**found, **dict(undistilled(found))}
    with FileLock(out / "suite.lock"):
        (out / "found").mkdir(exist_ok=True)
        entries: dict[str, Any] = {}
        for kind, config in configs.items():
            file = out / "found" / f"{kind.replace(' ', '-').replace(',', '')}.yaml"
            file.write_text(safe_dump(config, sort_keys=False))
            entries[kind] = {"config": str(file), "modality": "rgb" if name == "video" else None}
            entries[kind] |= {} if kind in found else {"seeds": SEEDS[:1]}
        entries["supervised"] = {"config": "configs/evaluation/supervised.yaml", "options": study.supervised}
        if name == "images":
            whole = {"trainer.max_steps": study.final + CANDIDATES * study.steps}
            entries["equal weights, whole cost"] = {**entries["equal weights"], "options": whole, "seeds": [0]}
        options = {"trainer.max_steps": study.final, "trainer.max_epochs": -1, "trainer.limit_val_batches": 0}
        board = {"data": study.board, "options": options, "entries": entries}
        suite = {"title": f"Evolving losses, {name}", "seeds": SEEDS, "dims": 2048, "protocols": ["linear", "knn"]}
        OmegaConf.save(OmegaConf.create({**suite, "boards": {name: board}}), out / "suite.yaml")
    must(["bench", str(out / "suite.yaml"), "--out", str(out / "bench")])


def agreement(out: Path) -> dict[str, Any]:
    """Correlate fitness with later probe accuracy, over the searched candidates of each search and of all."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, float] = {}
    for file in sorted(out.glob("*/candidates.json")):
        own = [c for c in json.loads(file.read_text()) if c["control"] is None]
        done = [c for c in own if c["state"] == "done" and c["probe"]]
        pairs[file.parent.name] = [(c["fitness"], c["probe"]["accuracy"]) for c in done]
        seconds[file.parent.name] = round(sum(c["seconds"] or 0 for c in own), 1)
    pairs["all"] = [pair for own in pairs.values() for pair in own]
    rho = {kind: (float(spearmanr(own).statistic), len(own)) for kind, own in pairs.items() if len(own) > 3}
    return {"spearman": rho, "seconds of searched candidates": seconds}


def main() -> None:
    """Search, train what was found, probe it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"), help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs") / "evolve-benchmark")
    parser.add_argument("--only", choices=("video", "images"), help="one study (default: both)")
    own = parser.parse_args()
    if own.root is None:
        raise SystemExit("give --root DATA, or set PRETEXT_DATA")
    for name, study in studies(own.root, own.out / "clips").items():
        if own.only in (None, name):
            out = own.out / name
            search(name, study, out)
            compare(name, study, out)
            save(out / "agreement.json", agreement(out))
            print(json.dumps(agreement(out), indent=1))


if __name__ == "__main__":
    main()
