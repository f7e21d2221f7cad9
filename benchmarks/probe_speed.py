"""What a linear probe costs: ours against lightly's LinearClassifier, scikit-learn and our classical LinearProbe.

One process, the same backbone (ResNet-18 with ImageNet's stem at 32 px, of a run or at random initialisation), the same
labelled images of CIFAR-10 to train on and the same to test on. Ours looks at every image once, keeps five stages and
fits each; lightly's trains a layer on the last one, with a crop and a flip of each image and all of the backbone in
every epoch. With fewer than 90 epochs its time is scaled to 90, and the table says so.

    pip install --target LIGHTLY --no-deps "lightly>=1.6,<1.7"
    python benchmarks/probe_speed.py --root DATA --lightly LIGHTLY [--run RUN] [--epochs 3]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import pretext
from datamodules import ImageFolder, Splitting
from pretext.core.rng import rng
from pretext.core.types import Backbone
from pretext.evaluation.embed import Embedded, embed
from pretext.evaluation.solvers.logistic_regression import FINE, STRENGTHS, fit, probe
from pretext.evaluation.statistics.intervals import wilson

EPOCHS = 90  # of lightly's linear evaluation
BATCH = 256
FOLDS = 5


class Row(NamedTuple):
    """A line of the table."""

    what: str
    seconds: float
    right: float  # share of test images
    note: str = ""


class Pooled(nn.Module):
    """A backbone as others want it: images to vectors."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.backbone(x).pooled
        return pooled


class Augmented(IterableDataset[tuple[Tensor, Tensor]]):
    """Decoded images on some device, shuffled, cropped and flipped in batches there: an epoch each time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.epoch = images, labels, 0
        self.augment = pretext.Augment(crop=32, pad=4)

    def __len__(self) -> int:
        return -(-len(self.images) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.images.device
        generator, self.epoch = rng(device, "probe speed", self.epoch), self.epoch + 1
        order = torch.randperm(len(self.images), generator=generator, device=device)
        for rows in order.split(BATCH):  # type: ignore[no-untyped-call]  # torch's
            yield self.augment(self.images[rows], generator), self.labels[rows]


def view(x: Tensor) -> Tensor:
    """Bring whole images to [0, 1]."""
    return x.float() / 255


def ours(backbone: Backbone, data: ImageFolder, dtype: torch.dtype) -> tuple[list[Row], Embedded, Embedded]:
    """Embed both splits and probe every stage; the row of all of it scores the stage that validation chose."""
    begin = time.perf_counter()
    train, test = (embed(backbone, data.ordered(split), view, dtype=dtype) for split in ("train", "test"))
    embedding = time.perf_counter() - begin
    rows = [Row(f"ours: embed {len(train.labels)} + {len(test.labels)} images, all stages", embedding, float("nan"))]
    best, chosen = -1.0, rows[0]
    for stage, features in train.grid.items():
        begin = time.perf_counter()
        probed = probe(features, train.labels, test.grid[stage], test.labels)
        note = f"{features.shape[1]} values, l2 {probed.l2:g}"
        rows.append(Row(f"ours: {stage}", time.perf_counter() - begin, probed.accuracy, note))
        if probed.validation > best:
            best, chosen = probed.validation, rows[-1]
    whole, last = sum(row.seconds for row in rows), list(train.mean)[-1]
    note = f"{chosen.what.removeprefix('ours: ')}, chosen on validation"
    how = ", bfloat16" if dtype == torch.bfloat16 else ""
    rows.append(Row(f"**ours: embedding and all stages{how}**", whole, chosen.right, note))
    begin = time.perf_counter()
    pooled = probe(train.mean[last], train.labels, test.mean[last], test.labels)
    rows.append(Row("ours: last stage, pooled", time.perf_counter() - begin, pooled.accuracy, f"l2 {pooled.l2:g}"))
    begin = time.perf_counter()
    folded = probe(train.mean[last], train.labels, test.mean[last], test.labels, folds=FOLDS)
    note = f"l2 {folded.l2:g} of {len(STRENGTHS)}, {FOLDS} folds"
    rows.append(Row("ours: last stage, pooled, folds", time.perf_counter() - begin, folded.accuracy, note))
    return rows, train, test


def single(train: Embedded, test: Embedded, stage: str, l2: float, theirs: bool) -> Row:
    """Fit one stage's grid with one strength, standardising included."""
    x, held = train.grid[stage], test.grid[stage]
    begin = time.perf_counter()
    if theirs:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (len(x) * l2), max_iter=2000))
        model.fit(x.float().numpy(), train.labels.numpy())
        said = torch.from_numpy(model.predict(held.float().numpy()))
    else:
        said = fit(x, train.labels, [l2], FINE).predict(held)[0]
    seconds = time.perf_counter() - begin
    name = "scikit-learn" if theirs else "ours"
    return Row(f"{name}: {stage}, one strength", seconds, float((said == test.labels).double().mean()), f"l2 {l2:g}")


def folded(train: Embedded, test: Embedded) -> Row:
    """Let scikit-learn choose among the same strengths by folds, on the pooled last stage."""
    stage = list(train.mean)[-1]
    x, held = train.mean[stage].float().numpy(), test.mean[stage].float().numpy()
    costs = [1 / (len(x) * (1 - 1 / FOLDS) * l2) for l2 in STRENGTHS]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, {"logisticregression__C": costs}, cv=FOLDS)
    begin = time.perf_counter()
    search.fit(x, train.labels.numpy())
    right = float(search.score(held, test.labels.numpy()))
    chosen = STRENGTHS[costs.index(search.best_params_["logisticregression__C"])]
    note = f"l2 {chosen:g} of {len(STRENGTHS)}, {FOLDS} folds"
    return Row("scikit-learn: last stage, pooled, folds", time.perf_counter() - begin, right, note)


def lightly(backbone: Backbone, data: ImageFolder, epochs: int) -> Row:
    """Train lightly's classifier on the pooled last stage; the images are decoded once, which is timed."""
    from lightly.utils.benchmarking import LinearClassifier  # type: ignore[import-not-found]  # lies elsewhere

    begin = time.perf_counter()
    images, labels = everything(data, "train")
    classes = len(data.classes)
    model = LinearClassifier(Pooled(backbone), BATCH, feature_dim=backbone.dim, num_classes=classes, topk=(1,))
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", **QUIET)
    trained = time.perf_counter()
    trainer.fit(model, DataLoader(Augmented(images, labels), batch_size=None))
    done = time.perf_counter()
    right, total = 0, 0
    with torch.no_grad():
        for batch in data.ordered("test"):
            right += int((model.eval()(view(batch["x"])).argmax(1) == batch["y"]).sum())
            total += len(batch["y"])
    rest = time.perf_counter() - done + trained - begin
    note = f"last stage, pooled; {epochs} epochs"
    if epochs != EPOCHS:
        note += f" measured ({done - trained:.0f} s), time of {EPOCHS} extrapolated; accuracy is that of {epochs}"
    return Row("lightly: LinearClassifier", (done - trained) * EPOCHS / epochs + rest, right / total, note)


def classical(backbone: Backbone, data: ImageFolder, epochs: int) -> Row:
    """Train our own classical probe, all stages at once; it chooses its stage on validation images."""
    name = f"ours: classical LinearProbe, {epochs} epochs"
    try:
        from pretext.supervised.linear_probe import LinearProbe
    except ImportError as error:
        return Row(name, float("nan"), float("nan"), f"not there: {error}")
    module = LinearProbe(backbone=backbone, augment=pretext.Augment(crop=32, pad=4))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=folder, **QUIET)
        trainer.fit(module, datamodule=data)
        trained = time.perf_counter() - begin
        trainer.test(module, datamodule=data, verbose=False)
        rows = json.loads((Path(folder) / "score.json").read_text())["rows"]
    seconds = time.perf_counter() - begin - trained
    chosen = next(row for row in rows if row["chosen"])
    note = f"{chosen['stage']}, chosen on the validation tenth of train"
    note += "" if epochs == EPOCHS else f"; {epochs} epochs measured ({trained:.0f} s), time of {EPOCHS} extrapolated"
    return Row(name, trained * EPOCHS / epochs + seconds, chosen["accuracy"], note)


QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def everything(data: ImageFolder, split: Any) -> tuple[Tensor, Tensor]:
    """Decode a whole split."""
    batches = list(data.ordered(split))
    return torch.cat([batch["x"] for batch in batches]), torch.cat([batch["y"] for batch in batches])


def table(rows: list[Row], total: int) -> list[str]:
    """Lay the rows out, with their time as a multiple of ours."""
    whole = next(row.seconds for row in rows if row.what.startswith("**"))
    lines = ["| what | seconds | x ours | test accuracy (95 %) | |", "|---|---|---|---|---|"]
    for row in rows:
        score = ""
        if row.right == row.right:
            low, high = wilson(round(row.right * total), total)
            score = f"{100 * row.right:.2f} ({100 * low:.1f} to {100 * high:.1f})"
        lines.append(f"| {row.what} | {row.seconds:.1f} | {row.seconds / whole:.2f} | {score} | {row.note} |")
    return lines


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--run", help="whose trained backbone to probe; otherwise one at random initialisation")
    parser.add_argument("--images", type=int, default=10_000, help="of the training set")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of lightly's")
    parser.add_argument("--classical", type=int, default=10, help="epochs of our own classical probe; 0: leave it out")
    parser.add_argument("--lightly", type=Path, help="the folder that it was installed into")
    parser.add_argument("--stages", nargs="*", default=None, help="to fit with scikit-learn too; default: all")
    parser.add_argument("--folds", action="store_true", help="let scikit-learn choose by folds too: many minutes")
    parser.add_argument("--bfloat16", action="store_true", help="embed in it once more")
    own = parser.parse_args()
    if own.root is None or not (Path(own.root) / "cifar10").is_dir():
        raise SystemExit("--root (or PRETEXT_DATA) must name a folder that holds cifar10/{train,test}/<class>/*.jpg")
    return own


def main() -> None:
    """Measure everything in turn and print the table."""
    own = arguments()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # on workers and validation: neither is wanted
    torch.manual_seed(0)
    backbone = pretext.load(own.run).backbone if own.run else pretext.TorchVision("resnet18")
    rows: list[Row] = []

    def add(more: list[Row]) -> None:
        for row in more:
            print(
                f"{row.seconds:8.1f} s  {100 * row.right:6.2f} %  {row.what}  {row.note}", file=sys.stderr, flush=True
            )
        rows.extend(more)

    def opened() -> ImageFolder:  # whose files nobody has decoded yet: each row pays for that
        data = ImageFolder(Path(own.root) / "cifar10", canvas=32, batch_size=BATCH, split=Splitting(limit=own.images))
        data.prepare_data()
        data.setup("fit")
        return data

    first, train, test = ours(backbone, opened(), torch.float32)
    add(first)
    if own.bfloat16:
        add(ours(backbone, opened(), torch.bfloat16)[0])
    for stage in own.stages if own.stages is not None else list(train.grid):
        l2 = float(next(row.note for row in first if row.what == f"ours: {stage}").rpartition(" ")[2])
        add([single(train, test, stage, l2, theirs) for theirs in (False, True)])
    if own.folds:
        add([folded(train, test)])
    if own.lightly:
        sys.path.append(str(own.lightly))  # behind: what both need is ours
        add([lightly(backbone, opened(), own.epochs)])
    if own.classical:
        add([classical(backbone, opened(), own.classical)])
    print(f"{len(train.labels)} + {len(test.labels)} images, {torch.get_num_threads()} threads")
    print(*table(rows, len(test.labels)), sep="\n")


if __name__ == "__main__":
    main()
