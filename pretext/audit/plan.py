"""From a config to the tasks that are audited: their factories, their backbone's shape, and items to pose them from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser

from pretext.audit.controls import CONTROLS, Control
from pretext.audit.names import STEPS as STEPS
from pretext.audit.sitting import Exam, Items
from pretext.core.errors import require
from pretext.core.tree import leaves, mapped
from pretext.core.types import TaskFactory, Tree
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import build, resolved

TRAINED, HELD, LEAST = 5_000, 1_000, 8  # items that are kept of either kind at most, and at least
BYTES = 2**30  # that they take at most


class _Tasks:
    """The tasks of a config, of which jsonargparse makes factories."""

    def __init__(self, tasks: dict[str, TaskFactory]) -> None:
        self.tasks = tasks


def exams(
    config: Mapping[str, Any], options: Sequence[str], names: Sequence[str] | None, steps: int
) -> tuple[list[Exam], dict[str, Any]]:
    """Build what is audited of a config with command-line options, and return it beside the config as plain data.

    Raises:
        ValueError: there is no such task, no data, too few items, or a task cannot be posed from them; the message says
            what to do.

    """
    require(steps >= 1, "audit", f"budget={steps}", "give at least 1 step of training")
    plain = resolved(config, options)
    module, data = build(config, options)
    assert isinstance(module, Pretrainer)  # or `resolved` has refused it
    if data is None:
        raise ValueError("the config names no data; add --data CLASS")
    chosen = _named(list(module.tasks), names)
    factories = _factories(plain["model"]["tasks"])
    items = _items(module, data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = [Exam(name, factories[name], module.backbone, items, steps, module.seed, device) for name in chosen]
    for exam in made:
        _posable(exam)
    return made, plain


def controls_of(exam: Exam) -> list[tuple[Control, str]]:
    """List every control, and why it cannot be asked of a task ("" where it can)."""
    task, loaded, puzzle = exam.sample()
    smallest = exam.smallest_batch(puzzle, len(next(leaves(loaded))))
    return [(control, control.refused(task, loaded, puzzle, smallest)) for control in CONTROLS]


def _named(there: list[str], names: Sequence[str] | None) -> list[str]:
    if unknown := [name for name in names or () if name not in there]:
        raise ValueError(f"audit: no task {', '.join(unknown)} in the config, which has {', '.join(there)}")
    return [name for name in there if not names or name in names]


def _factories(tasks: Mapping[str, Any]) -> dict[str, TaskFactory]:
    """Make factories of the tasks of a config, as `Pretrainer` is given them."""
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_class_arguments(_Tasks, "model", fail_untyped=False)
    built: _Tasks = parser.instantiate(parser.parse_object({"model": {"tasks": dict(tasks)}})).model
    return built.tasks


def _items(module: Pretrainer, data: pl.LightningDataModule) -> Items:
    """Load items to train on and, of the validation share, items to score on."""
    data.prepare_data()
    data.setup("fit")
    held = _gathered(data.val_dataloader(), HELD)
    train = _gathered(data.train_dataloader(), TRAINED)
    for what, x in (("training", train), ("held-out", held)):
        count = 0 if x is None else len(next(leaves(x)))
        advice = "add items, or raise --data.split.val, the share of the training set that is held out"
        require(count >= LEAST, "audit", f"{count} {what} items, of at least {LEAST}", advice)
    return Items(train, held, module.inputs)


def _gathered(batches: Iterable[Mapping[str, Any]], most: int) -> Tree | None:
    """Join the first batches, up to so many items or bytes; none where there is no batch."""
    kept: list[Tree] = []
    count = size = 0
    for batch in batches:
        kept.append(batch["x"])
        count += len(next(leaves(batch["x"])))
        size += sum(leaf.numel() * leaf.element_size() for leaf in leaves(batch["x"]))
        if count >= most or size >= BYTES:
            break
    if not kept:
        return None
    return mapped(lambda leaf: leaf[:most], joined(kept))


def joined(trees: Sequence[Tree]) -> Tree:
    """Join the items of trees of one structure: tensors, or dicts of them."""
    if isinstance(trees[0], dict):
        return {name: torch.cat([tree[name] for tree in trees]) for name in trees[0]}
    return torch.cat(list(trees))


def _posable(exam: Exam) -> None:
    """Refuse data that a task cannot be posed from.

    Raises:
        ValueError: in one line, with the task's name.

    """
    try:
        exam.sample()
    except (ValueError, KeyError) as error:
        raise ValueError(f"audit: {exam.name} cannot be posed from these data: {error}") from error
