"""Training from Python: the same run folder as `pretext fit` makes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import pytorch_lightning as pl
import yaml

from pretext.backbones.audio import Sound
from pretext.core.checkpoint_file import read_checkpoint
from pretext.core.errors import require
from pretext.core.files import write_whole
from pretext.core.quiet import quiet
from pretext.core.types import Backbone
from pretext.training.callbacks import Checkpoint, Stagnation
from pretext.training.companions import TRAINER, keeps_others, loggers, plugins, watchers
from pretext.training.host import Host
from pretext.training.loaders import taken
from pretext.training.one_writer import only_writer
from pretext.training.prepared import prepared
from pretext.training.run import CONFIG, LAST
from pretext.training.run_folder import RunFolder
from pretext.training.trained import Run
from pretext.training.written import config_of

COMMAND = "pretext.fit(...)"
DECIDED = {
    "default_root_dir": "say folder, the run's own",
    "enable_checkpointing": "a run keeps its last checkpoint; for others give Lightning's ModelCheckpoint in callbacks",
}
"""Options of Lightning's Trainer that are not a user's to set, and what is instead."""
_TRAINED: WeakKeyDictionary[Host, set[str]] = WeakKeyDictionary()
"""Of modules that were trained, which are in evaluation mode since: what of them was in training mode."""
_RUNS: WeakKeyDictionary[Host, ref[Run]] = WeakKeyDictionary()
"""Of modules that were trained, the last run of each."""


class _Config(pl.Callback):
    """Write the config into the run when the first step is done: a start that fails leaves nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._written = False

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if not self._written and trainer.is_global_zero and not trial:
            self._written = True
            write_whole(Path(trainer.default_root_dir) / CONFIG, self.text)


@quiet()
def fit(module: Host, data: Any, folder: str | Path | None = None, *, resume: bool = False, **trainer: Any) -> Run:
    """Train a module on data, and make a run folder: config, checkpoints, metrics, record.

    Args:
        module: a `pretext.Pretrainer`, or an evaluator such as `pretext.FineTune`.
        data: a data module, a DataLoader, a pair (train, test) of them, or a dict of "train", "val" and "test". The
            order of a data module that has a seed follows the module's.
        folder: the run; none: the next free number in runs/python.
        resume: go on where a run in this folder stopped, with the same module and data as then.
        trainer: options of Lightning's Trainer, such as max_epochs=20 (default 10), max_steps, accelerator, precision.

    Raises:
        FileExistsError: the folder holds a run, and `resume` is false.
        ValueError: the module is no `Host`, the data cannot be taken, or there is no batch.

    """
    require(isinstance(module, Host), "fit", f"module is a {type(module).__name__}", "give a pretext.Pretrainer")
    _check_options(trainer)
    data = taken(data)
    check_rate(module.backbone, data)
    if "seed" in getattr(getattr(data, "built_with", None), "keywords", {}) or hasattr(data, "seed"):
        data.seed = module.seed  # one seed for weights, puzzles and order, as on the command line
    kept = RunFolder()
    try:
        run = _place(kept, folder, resume)
        _part_from_earlier_run(module)
        before = set() if module.training else _TRAINED.get(module, set())
        for name, part in module.named_modules():
            part.training |= name in before
        steps = _train(module, data, run, resume, _with_defaults(trainer))
    finally:
        kept.give_back()
    _TRAINED[module] = {name for name, part in module.named_modules() if part.training}
    made = Run(run, module.eval(), data, steps)
    _RUNS[module] = ref(made)
    return made


def _part_from_earlier_run(module: Host) -> None:
    """Give the run that a module was trained for a copy of it, if it is still there, for this module learns on."""
    earlier = _RUNS[module]() if module in _RUNS else None
    if earlier is not None:
        object.__setattr__(earlier, "module", earlier.copied())


def _with_defaults(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in options of the trainer; who limits steps or time alone wants no limit of epochs, as with Lightning."""
    limited = trainer.get("max_steps", -1) not in (None, -1) or trainer.get("max_time") is not None
    return {**TRAINER, **({"max_epochs": -1} if limited else {}), **trainer}


def _train(module: Host, data: pl.LightningDataModule, run: Path, resume: bool, options: dict[str, Any]) -> int:
    """Train into a folder, which is this process's alone meanwhile, and is made at the first step; return the step.

    Raises:
        ValueError: there is no batch.

    """
    saved = run / LAST
    resumed_at = int(read_checkpoint(saved, mmap=True)["global_step"]) if resume and saved.exists() else None
    text = yaml.safe_dump(config_of(module, data, options), sort_keys=False, width=120)
    lightning = _trainer(run, options, resumed_at, text)
    trial = lightning.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
    first = lightning.node_rank == lightning.local_rank == 0  # global ranks are known later
    with only_writer(run) if first and not trial else nullcontext():
        lightning.fit(module, datamodule=data, ckpt_path=None if resumed_at is None else str(saved))
    started = lightning.global_step > 0 or options.get("max_steps") == 0 or options["max_epochs"] == 0
    require(started, "fit", "no batch to train on", "look at the data: batch_size, drop_last, limits")
    return lightning.global_step


def _check_options(trainer: Mapping[str, Any]) -> None:
    """Refuse options that Lightning's Trainer does not have."""
    known = [*inspect.signature(pl.Trainer).parameters, "folder", "resume"]
    for name, wanted in DECIDED.items():
        require(name not in trainer, "fit", f"{name}={trainer.get(name)!r}", wanted)
    for name in trainer:
        like = get_close_matches(name, known, n=1)
        wanted = f"did you mean {like[0]}?" if like else "it takes folder, resume, and those of Lightning's Trainer"
        require(name in known, "fit", f"no option {name}", wanted)


def _trainer(run: Path, options: dict[str, Any], resumed_at: int | None, config: str) -> pl.Trainer:
    own, logger = dict(options), options.get("logger")
    listed = [] if logger in (None, True) else list(logger) if isinstance(logger, list | tuple) else [logger]
    bar = own.get("enable_progress_bar", True) and not sys.stderr.isatty()
    # Checkpoint keeps the last one; a user's own may keep others beside it.
    own |= {"default_root_dir": str(run), "enable_checkpointing": keeps_others(_listed(own.get("callbacks")))}
    own["logger"] = False if logger is False else loggers(run, resumed_at, listed, waits=True)
    more = [*watchers(COMMAND, bool(bar)), _Config(config), Checkpoint(), Stagnation()]
    own["callbacks"] = [*_listed(own.get("callbacks")), *more]
    own["plugins"] = plugins(_listed(own.get("plugins")), own.get("sync_batchnorm"))
    own["sync_batchnorm"] = bool(own.get("sync_batchnorm"))
    return prepared(pl.Trainer(**own))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _place(kept: RunFolder, folder: str | Path | None, resume: bool) -> Path:
    """Choose the folder of a run."""
    if folder is None:
        return kept.next_in(Path("runs") / "python")
    run = Path(folder).expanduser()
    if (run / LAST).exists() and not resume:
        raise FileExistsError(f"fit: {run} already holds a run; go on with it by resume=True, or give another folder")
    return run


def check_rate(backbone: Backbone, data: object) -> None:
    """Refuse sounds of another rate than a network hears.

    Raises:
        ValueError: as said.

    """
    rate = getattr(data, "rate", None)
    for network in backbone.modules():
        if isinstance(network, Sound) and rate is not None:
            wanted = f"build the backbone with rate={rate}, or the data with {network.mel.rate} samples a second"
            same = network.mel.rate == rate
            require(same, "Sound", f"rate={network.mel.rate}, but {type(data).__name__} has {rate}", wanted)
