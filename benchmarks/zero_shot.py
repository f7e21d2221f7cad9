"""Which features recognise classes without items, and pictures by their texts? Zero shot and retrieval in small.

    python benchmarks/zero_shot.py --root DATA [--only shapes|clothing10|retrieval] [--dry]

DATA/clothing10 holds the photos (README.md says where from). Start it again to go on after a kill, or twice to share
the work: what is finished stands in results/zero_shot/cells, a small JSON each, and in zero_shot.json what is said of
it. `--dry` does everything in small, to see that it works.

"shapes": the renderer's 36 combinations of shape and colour, 12 of them unseen, so that each shape and each colour is
seen. "clothing10": ten classes with attributes written by hand (clothing10_attributes.csv), three unseen. Each of
three seeds has other unseen classes and other weights. Networks: pretext runs (Rotation, Contrast), one trained on
labels of seen classes, random initialisation, raw pixels; chance is one over the unseen classes. Pretext runs see
training pictures of unseen classes too, without labels. "retrieval": `Embed` of the renderer's pictures and captions,
beside untrained.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from shared import interval, save
from torch import Tensor, nn

import pretext
from datamodules import ImageFolder, Reading
from pretext.core.rng import rng
from pretext.core.types import Backbone
from pretext.evaluation.baselines import Pixels
from pretext.evaluation.embed import Embedded, embed
from pretext.evaluation.measure import measure
from pretext.evaluation.protocols.retrieval import recalls
from pretext.jobs.files import FileJob, finish, read_result
from pretext.nn.embedding_losses import InfoNCE
from pretext.ops.words import as_bytes
from pretext.views.latent.words import COLOURS, Factors

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "zero_shot" / "cells", HERE / "zero_shot.json"
ATTRIBUTES = HERE / "clothing10_attributes.csv"
UNSEEN = (("longsleeve", "shorts", "skirt"), ("t-shirt", "pants", "outwear"), ("shirt", "dress", "shorts"))
"""Of clothing10, by seed: every attribute of these is some seen class's too."""
NETWORKS = ("pixels", "random", "rotation", "contrast", "supervised")
BATCH, SIDE = 64, 32


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool) -> None:
        self.seeds, self.steps, self.pair_steps = (1, 2, 2) if dry else (3, 300, 600)
        self.each, self.photos, self.pairs = (6, 120, 64) if dry else (60, 2000, 2000)


class Items(NamedTuple):
    """Pictures uint8 (N, 3, S, S) with labels (N,), to train on and to test on."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: list[str]


def shapes(plan: Plan) -> Items:
    """Draw as many pictures of each combination of shape and colour; a third as many for the test."""
    draw = pretext.Shapes(SIDE)
    classes = [f"{colour} {shape}" for shape in draw.classes for colour in COLOURS]

    def drawn(split: str, each: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(len(classes)).repeat_interleave(each)
        generator = rng("cpu", "zero_shot", split)
        told = draw.factors(draw.sample(len(y), generator))
        near = 0.6 * torch.rand(len(y), generator=generator) - 0.3  # of a sixth of the wheel, around the colour
        hue = ((y % len(COLOURS) + near) / len(COLOURS)).remainder(1)
        wanted = Factors(y // len(COLOURS), told.x, told.y, told.size, hue, told.texture, told.ground)
        return (draw.decode(draw.latents(wanted)) * 255).round().byte(), y

    return Items(drawn("train", plan.each), drawn("test", max(2, plan.each // 3)), classes)


def clothing(root: Path, plan: Plan) -> Items:
    """Load the photos at a canvas of 48 px."""
    data = ImageFolder(root / "clothing10", canvas=48, reading=Reading(workers=1))

    def loaded(split: Any) -> tuple[Tensor, Tensor]:
        batches = list(data.ordered(split, plan.photos))
        return torch.cat([b["x"] for b in batches]), torch.cat([b["y"] for b in batches])

    return Items(loaded("train"), loaded("test"), data.classes)


def write_classes(name: str, items: Items, seed: int, file: Path) -> set[str]:
    """Write the classes' attributes with the split of a seed; return the unseen ones."""
    if name == "shapes":
        kinds = list(pretext.Shapes.classes)
        # Every third colour of a shape, moved on from shape to shape: each shape and each colour is seen.
        unseen = {c for i, c in enumerate(items.classes) if (i // len(COLOURS) + i % len(COLOURS) + seed) % 3 == 0}
        header = ["class", "split", *kinds, *COLOURS]
        rows = [[c, "", *(int(word in c.split()) for word in header[2:])] for c in items.classes]
    else:
        unseen = set(UNSEEN[seed])
        with ATTRIBUTES.open(newline="") as lines:
            header, *rows = list(csv.reader(lines))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as lines:
        split = [[row[0], "unseen" if row[0] in unseen else "seen", *row[2:]] for row in rows]
        csv.writer(lines).writerows([header, *split])
    return unseen


def train(parts: Sequence[nn.Module], loss: Callable[[Tensor, int], Tensor], n: int, steps: int, seed: int) -> None:
    """Train parts on batches of item numbers, at a rate that falls to 0."""
    parameters = [p for part in parts for p in part.train().parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        some = torch.randperm(n, generator=rng("cpu", seed, "items", step))[:BATCH]
        optimizer.zero_grad()
        loss(some, step).backward()
        optimizer.step()
        schedule.step()


def network(name: str, items: Items, unseen: set[str], plan: Plan, seed: int) -> Backbone:
    """Make a network of that name and train it."""
    torch.manual_seed(seed)
    if name == "pixels":
        return Pixels()
    (x, y), side = items.train, items.train[0].shape[-1]
    stride = 2 if side > SIDE else 1  # photos are larger than shapes
    net = pretext.TorchVision("resnet18", stem="small", stem_stride=stride, width=0.25)
    crop = pretext.Augment(crop=side, scale=(0.5, 1.0), brightness=0.2)
    labels = torch.tensor([c in unseen for c in items.classes])
    kept = (~labels[y]).nonzero()[:, 0] if name == "supervised" else torch.arange(len(y))
    head = nn.Linear(net.dim, len(items.classes))
    task = pretext.Rotation(net) if name == "rotation" else pretext.Contrast(net) if name == "contrast" else None

    def loss(some: Tensor, step: int) -> Tensor:
        chance = rng("cpu", seed, name, step)
        shown = crop(x[kept[some]], chance)
        if task is None:
            return nn.functional.cross_entropy(head(net(shown).pooled), y[kept[some]])
        puzzle = task.pose(shown, chance)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    if name != "random":
        train([net, head if task is None else task], loss, len(kept), plan.steps, seed)
    return net.eval()


def embedded(net: Backbone, x: Tensor, y: Tensor) -> Embedded:
    """Look at all pictures."""
    index = torch.arange(len(x))
    batches = [{"x": x[i], "index": i, "y": y[i]} for i in index.split(256)]
    return embed(net, batches, lambda shown: shown.float() / 255)


def zero_shot(dataset: str, name: str, seed: int, items: Items, plan: Plan, out: Path) -> dict[str, Any]:
    """Measure one network; the stage, the method and its settings are chosen by hiding seen classes."""
    file = out / f"{dataset}-{seed}.csv"
    unseen = write_classes(dataset, items, seed, file)
    net = network(name, items, unseen, plan, seed)
    sets = [embedded(net, *part) for part in (items.train, items.test)]
    found = measure(*sets, [pretext.ZeroShot(file)], classes=items.classes)
    row = max(found.rows, key=lambda row: row.score("zero_shot").validation or 0)
    methods = {name: dict(score.figures) for name, score in row.variants("zero_shot_methods").items()}
    told = dict(row.score("zero_shot").figures)
    return {"stage": row.stage, "chance": 1 / len(unseen), **told, "methods": methods}


def retrieval(trained: bool, seed: int, plan: Plan) -> dict[str, Any]:
    """Embed pictures and captions; classify shapes by the prompt "a <shape>"."""
    draw = pretext.Shapes(SIDE)
    latents = draw.sample(plan.pairs + plan.pairs // 4, rng("cpu", "zero_shot", "pairs"))
    x, said, y = draw.decode(latents), draw.captions(latents), draw.labels(latents)
    torch.manual_seed(seed)
    image = pretext.TorchVision("resnet18", stem="small", width=0.25)
    net = pretext.MultiModal({"rgb": image, "text": pretext.Text()})
    task = pretext.Embed(net, "rgb", "text", loss=InfoNCE(0.07, learnt=True))

    def texts(some: Tensor, chance: torch.Generator | None) -> Tensor:
        drawn = [0] * len(some) if chance is None else torch.randint(4, (len(some),), generator=chance).tolist()
        lines = [said[i][k % len(said[i])] for i, k in zip(some.tolist(), drawn, strict=True)]
        return as_bytes(lines, 96).float() / 255

    def loss(some: Tensor, step: int) -> Tensor:
        chance = rng("cpu", seed, "pairs", step)
        puzzle = task.pose({"rgb": x[some], "text": texts(some, chance)}, chance)
        return task.grade(task.solve(net(puzzle.question), None), puzzle.answer).loss

    if trained:
        train([net, task], loss, plan.pairs, plan.pair_steps, seed)
    both, test = task.encoders(net).eval(), torch.arange(plan.pairs, len(x))
    prompts = as_bytes([f"a {shape}" for shape in draw.classes]).float() / 255
    with torch.inference_mode():
        seen, classes = both({"rgb": x[test], "text": texts(test, None)}).stages, both({"text": prompts}).stages["text"]
    nearest = nn.functional.normalize(seen["rgb"], dim=1) @ nn.functional.normalize(classes, dim=1).T
    return {
        "text of picture": recalls(seen["rgb"], seen["text"]),
        "picture of text": recalls(seen["text"], seen["rgb"]),
        "shape by prompt": float((nearest.argmax(1) == y[test]).double().mean()),
        "items": len(test),
    }


def jobs(args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List a job for each set, network and seed; a file stands for each."""
    makers = {"shapes": partial(shapes, plan), "clothing10": partial(clothing, args.root, plan)}
    for dataset, make in makers.items():
        kept: list[Items] = []  # loaded by the first job that is run

        def run(name: str, seed: int, d: str = dataset, m: Callable[[], Items] = make, k: list[Items] = kept) -> Any:
            k[:] = k or [m()]
            return zero_shot(d, name, seed, k[0], plan, args.out)

        for seed in range(plan.seeds):
            for name in NETWORKS if args.only in (None, dataset) else ():
                yield _job(args, f"{dataset}-{name}-{seed}", partial(run, name, seed))
    for seed in range(plan.seeds):
        for trained in (False, True) if args.only in (None, "retrieval") else ():
            name = f"retrieval-{'trained' if trained else 'random'}-{seed}"
            yield _job(args, name, partial(retrieval, trained, seed, plan))


def _job(args: argparse.Namespace, name: str, run: Callable[[], Any]) -> FileJob:
    return FileJob(name, args.cells / f"{name}.json", run, lambda reason: {"failed": reason})


def results(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Average what is finished over seeds, in percent with intervals."""
    said: dict[str, Any] = {}
    for dataset in ("shapes", "clothing10"):
        for name in NETWORKS:
            found = _found(args, f"{dataset}-{name}", plan)
            if found:
                figures = {key: interval([one[key] for one in found]) for key in ("unseen", "harmonic", "chance")}
                methods = {m: interval([one["methods"][m]["unseen"] for one in found]) for m in found[0]["methods"]}
                stages = [f"{one['stage']}, {one['method']}" for one in found]
                said.setdefault(dataset, {})[name] = {**figures, "methods, unseen": methods, "chosen": stages}
    for name in ("random", "trained"):
        if found := _found(args, f"retrieval-{name}", plan):
            ways = {
                f"{way}, {key}": interval([one[way][key] for one in found])
                for way in ("text of picture", "picture of text")
                for key in ("r1", "r5", "r10")
            }
            ranks = {f"{way}, median rank": [one[way]["median_rank"] for one in found] for way in ("text of picture",)}
            by_prompt = interval([one["shape by prompt"] for one in found])
            said.setdefault("retrieval", {})[name] = {**ways, **ranks, "shape by prompt": by_prompt}
    return said


def _found(args: argparse.Namespace, name: str, plan: Plan) -> list[Any]:
    cells = (read_result(args.cells / f"{name}-{seed}.json") for seed in range(plan.seeds))
    return [cell for cell in cells if cell and "failed" not in cell]


def write(args: argparse.Namespace, plan: Plan) -> None:
    """Write all that can be said so far."""
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    save(file, {"command": "python benchmarks/zero_shot.py --root DATA", "plan": vars(plan), **results(args, plan)})


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/zero-shot-benchmark"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--only", choices=["shapes", "clothing10", "retrieval"])
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    plan = Plan(args.dry)
    finish(list(jobs(args, plan)), lambda job: job, lambda: write(args, plan), "zero_shot")
    write(args, plan)


if __name__ == "__main__":
    main()
