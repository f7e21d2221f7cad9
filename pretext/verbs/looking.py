"""`pretext.show`, `export` and `write_report`: look at a run, and take its network elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl

from pretext.audit.where import Where
from pretext.audit.where import where as where_solved
from pretext.backbones.export import export as write
from pretext.core.errors import require, require_count
from pretext.core.quiet import quiet
from pretext.core.types import Backbone
from pretext.report.puzzles import paint
from pretext.report.run import write_report as write_page
from pretext.report.where import write as write_where
from pretext.training.batches import lawful
from pretext.training.drawing import direction_between, generator_of
from pretext.training.drawing import walk as walks
from pretext.training.host import Host
from pretext.training.loaders import taken
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import puzzles
from pretext.training.run import find, load
from pretext.training.trained import Run
from pretext.verbs.opening import opened

SUFFIXES = {"torchvision": ".pth", "safetensors": ".safetensors"}
PAGE = 9  # tasks of a picture: more would be too high to look at


class Picture(NamedTuple):
    """A picture in a file, which a notebook shows."""

    file: Path

    def _repr_png_(self) -> bytes:
        return self.file.read_bytes()


class Exported(NamedTuple):
    """A file with a network's weights, and what one must know to load them."""

    file: Path
    about: str


@quiet()
def show(
    run: Run | Host | str | Path,
    data: Any = None,
    *,
    count: int = 6,
    out: str | Path | None = None,
    where: bool = False,
    walk: str | None = None,
) -> Picture:
    """Draw what the tasks of a run, or of a module before any training, ask and how they are answered.

    Args:
        run: what `pretext.fit` returned, the folder of a run, or a module.
        data: in any form that `pretext.fit` takes; none: the run's own.
        count: puzzles per task, or walks.
        out: the picture; none: puzzles.png (where.png, walk.png), in the run if there is one.
        where: draw where puzzles, or an evaluator's classes, are seen instead, by Grad-CAM++.
        walk: draw walks through a generator's latent space instead: "from,to" of two attributes, or "" for walks from
            one picture to another.

    Raises:
        ValueError: no data, nothing that poses puzzles, answers or draws, or both `where` and `walk`.

    """
    require_count("show", "count", count)
    require(not (where and walk is not None), "show", "where and walk", "ask for one at a time")
    module, own, folder, trained = opened(run, data is None)
    data = own if data is None else taken(data)
    require(data is not None, "show", "no data", "give some as the second argument")
    name = "where.png" if where else "puzzles.png" if walk is None else "walk.png"
    file = Path(out or folder / name)
    if walk is not None:
        return Picture(draw_walk(module, data, count, walk, file))
    if where:
        found = draw_where(module, data, count, file)
        said = "; ".join(f"{task}: {why}" for task, why in found.why_not.items())
        require(bool(found.rows), "show", said, "give a run of a task that chooses")
        return Picture(file)
    return Picture(draw(module, data, count, trained, file)[0])


def draw(module: Host, data: pl.LightningDataModule, count: int, trained: bool, out: Path) -> list[Path]:
    """Draw puzzles from held-out items, or else from the first batch of training; of many tasks on several pictures.

    Raises:
        ValueError: the module poses no puzzles.

    """
    if not isinstance(module, Pretrainer):
        raise ValueError(f"{type(module).__name__} poses no puzzles; show wants a run or config of pretext tasks")
    drawn = puzzles(module, _first(data), count, trained)
    pages = list(_pages(list(drawn), out))
    for names, page in pages:
        paint({name: drawn[name] for name in names}, page)
    return [page for _, page in pages]


def draw_where(module: Host, data: pl.LightningDataModule, count: int, out: Path) -> Where:
    """Draw where puzzles are seen, and write what was found beside the picture. Raises as `audit.where.where`."""
    found = where_solved(module, _first(data), count)
    write_where(found, out)
    return found


def draw_walk(module: Host, data: pl.LightningDataModule, count: int, names: str, out: Path) -> Path:
    """Draw walks of a module's generator, along the direction between two attributes "from,to" if they are named.

    Raises:
        ValueError: as in `generator_of` and `direction_between`.

    """
    generator, data = generator_of(module), taken(data)
    direction = None
    if names:
        data.prepare_data()
        parts = [name.strip() for name in names.split(",")]
        direction = direction_between(generator, module.eval(), data, parts)
    title = f"from {names.replace(',', ' to ')}" if names else "from one picture to another"
    paint({title: walks(generator, module.device, count, direction)}, out)
    return out


def _first(data: pl.LightningDataModule) -> dict[str, Any]:
    """Take a batch of held-out items, to which the head answers what it was not trained on, or else of training."""
    data.prepare_data()
    data.setup("validate")
    held_out = next(iter(data.val_dataloader()), None)
    return lawful(held_out if held_out is not None else next(iter(data.train_dataloader())))


def _pages(tasks: list[str], out: Path) -> Iterator[tuple[list[str], Path]]:
    """Divide tasks to pictures of a few each: puzzles.png, puzzles-2.png ..."""
    for number, start in enumerate(range(0, len(tasks), PAGE), start=1):
        name = out.name if number == 1 else f"{out.stem}-{number}{out.suffix}"
        yield tasks[start : start + PAGE], out.with_name(name)


def export(
    run: Run | Host | Backbone | str | Path,
    to: Literal["torchvision", "safetensors"] = "safetensors",
    *,
    out: str | Path | None = None,
    modality: str | None = None,
) -> Exported:
    """Write the plain backbone to a file that needs nothing of this package.

    Args:
        run: what `pretext.fit` returned, the folder of a run, a module or a backbone.
        to: the format.
        out: the file; none: backbone.pth or backbone.safetensors, in the run if there is one.
        modality: which network of a `MultiModal`.

    Raises:
        ValueError: as in `backbones.export.export`.

    """
    folder = run.folder if isinstance(run, Run) else find(run) if isinstance(run, str | Path) else Path()
    opened = load(run) if isinstance(run, str | Path) else run
    backbone = opened if isinstance(opened, Backbone) else getattr(opened, "backbone", None)
    require(isinstance(backbone, Backbone), "export", f"run is a {type(run).__name__}", "give a run or a backbone")
    assert isinstance(backbone, Backbone)
    require(to in SUFFIXES, "export", f"to={to!r}", f"choose one of {', '.join(SUFFIXES)}")
    suffix = SUFFIXES[to]
    stem = f"backbone-{modality}" if modality else "backbone"
    file = Path(out or folder / f"{stem}{suffix}")
    return Exported(file, write(backbone, file, to, modality))


def write_report(run: Run | str | Path) -> Path:
    """Write one self-contained HTML page of a run and return its path.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: a file of the run cannot be read; the message names it.

    """
    return write_page(run.folder if isinstance(run, Run) else find(run))
