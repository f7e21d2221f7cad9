"""`pretext fit`, `validate`, `test` and `predict`: LightningCLI, with a run folder and one-line errors."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from pretext.core.checkpoint_file import read_checkpoint
from pretext.core.files import write_whole
from pretext.core.stop import STOP
from pretext.training.batch_norm import SyncedBatchNorm
from pretext.training.callbacks import (
    AtomicCheckpointIO,
    Checkpoint,
    Divergence,
    History,
    Predictions,
    Progress,
    Record,
    Revalidation,
    Stagnation,
    Throughput,
)
from pretext.training.host import Host
from pretext.training.interruption import alone_with_signals
from pretext.training.options import merged, todays
from pretext.training.parser import Parser
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import CONFIG, LAST, evaluates, find, link_seed, numbered

VERBS = ("fit", "validate", "test", "predict")


QUIET = {"enable_model_summary": False}  # Record says what is trained in one line
UNSAID = {"sync_batchnorm": None}  # then `SyncedBatchNorm` does what is right


class SaveConfig(SaveConfigCallback):
    """Write the whole config into the run, at fit alone: `validate RUN` must not rewrite how RUN was trained."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if stage == "fit" and trainer.is_global_zero and not trial:
            run = Path(trainer.default_root_dir)
            config = self.config.clone()
            config.ckpt_path = None  # who starts anew from this config does not mean to resume
            write_whole(run / CONFIG, self.parser.dump(config, skip_none=False))


class PretextCLI(LightningCLI):
    """LightningCLI that gives every run its folder, its logs, its checkpoints, and resumes where it stopped."""

    def __init__(self, args: Sequence[str]) -> None:
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no device tables and advertisements
        self.command, self.verb = shlex.join(["pretext", *args]), args[0]
        resumes = _takes_run(args)
        args = _with_run(list(args))
        known: dict[str, Any] = reduce(merged, _configs(args), {})
        reading = {"known": known, "silent": CONFIG if resumes else None}
        self.named = evaluates(known)
        super().__init__(
            Host if self.named else Pretrainer,
            pl.LightningDataModule,
            subclass_mode_model=self.named,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            trainer_defaults={"max_epochs": 10, "log_every_n_steps": 10, "num_sanity_val_steps": 0, **QUIET, **UNSAID},
            parser_class=Parser,
            parser_kwargs={"parser_mode": "omegaconf", "exit_on_error": False, args[0]: reading},
            args=[args[0], *todays(args[1:], known)],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static there, and only called on an object
        """Keep the verb that is asked for alone: the parser of each takes a tenth of a second to make."""
        return {self.verb: set(LightningCLI.subcommands()[self.verb])}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of two callbacks, and let --seed_everything seed puzzles and data order too."""
        parser.add_argument("--evolve", type=dict, default=None, help="for `pretext evolve`; training leaves it alone")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(Stagnation, "stagnation")
        link_seed(parser, self.named)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args` alone (Lightning's own warns that there is a command line as well)."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Read no options from a checkpoint.

        Lightning merges the hyper-parameters that one may hold into the config, and builds the classes that they name.
        So a file of weights could run code, and silently replace what `config.yaml` says. Ours hold none.
        """

    def before_instantiate_classes(self) -> None:
        """Settle the run's folder and where to resume."""
        config = self.config[self.subcommand]
        root = config.trainer.default_root_dir
        name = Path(str(config.config[0])).stem if config.get("config") else "run"
        home = Path(root) if root else Path("runs") / name
        fits, last = self.subcommand == "fit", config.ckpt_path == "last"
        self.run_dir = home if not fits else _resumed(home, bool(root)) if last else _fresh(home, bool(root))
        config.trainer.default_root_dir = str(self.run_dir)
        self.resumed_at = None
        if fits and last:
            saved = self.run_dir / LAST
            config.ckpt_path = str(saved) if saved.exists() else None
            self.resumed_at = _steps_taken(saved) if saved.exists() else 0
        if self.named and config.model.init_args.get("run"):  # found again from any folder
            config.model.init_args.run = str(Path(config.model.init_args.run).resolve())

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Add logs, progress and record unless the config says otherwise."""
        config = self.config_init[self.subcommand].trainer
        terminal = sys.stderr.isatty()
        extra: list[pl.Callback] = [Divergence(), Throughput(), Record(self.command), Predictions(), Revalidation()]
        if config.enable_progress_bar is not False and not terminal:
            extra.append(Progress())
        fits, own = self.subcommand == "fit", [] if config.logger in (None, True) else _listed(config.logger)
        if config.logger is not False:  # beside loggers of a user's own the history is kept: reports are made of it
            kwargs["logger"] = [*(own or [self._board()]), self._history()] if fits else own or False
        kwargs["callbacks"] = [*(config.callbacks or []), *extra]
        norm = [SyncedBatchNorm()] if config.sync_batchnorm is None else []
        kwargs["plugins"] = [*_listed(config.plugins), AtomicCheckpointIO(), *norm]
        kwargs["enable_checkpointing"] = False  # Checkpoint does it
        return alone_with_signals(super().instantiate_trainer(**kwargs))

    def _board(self) -> TensorBoardLogger:
        return TensorBoardLogger(str(self.run_dir), name="", version="", purge_step=self.resumed_at)

    def _history(self) -> History:
        return History(str(self.run_dir), self.resumed_at or 0)

    def after_fit(self) -> None:
        """Tell where the run is; a signal that came too late to stop it ends the process now.

        Raises:
            SystemExit: there was one.

        """
        if self.trainer.is_global_zero:
            print(f"run: {self.run_dir}")
        STOP.check()


def _takes_run(args: Sequence[str]) -> bool:
    return len(args) > 1 and args[0] in VERBS and not args[1].startswith("-")


def _with_run(args: list[str]) -> list[str]:
    """Replace `VERB RUN ...` by the options that it stands for; `fit RUN` resumes."""
    if not _takes_run(args):
        return args
    run = find(args[1])
    ckpt = "last" if args[0] == "fit" else str(run / LAST)
    known = ["-c", str(run / CONFIG), "--trainer.default_root_dir", str(run), "--ckpt_path", ckpt]
    return [args[0], *known, *args[2:]]


def _configs(args: Sequence[str]) -> list[dict[str, Any]]:
    """Read the config files that a command line names; one that cannot be read is the parser's to complain of."""
    files = [value for option, value in pairwise(args) if option in ("-c", "--config")]
    files += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    read = [OmegaConf.to_container(OmegaConf.load(file)) for file in files if Path(file).is_file()]
    return [{str(key): value for key, value in config.items()} for config in read if isinstance(config, dict)]


def _fresh(home: Path, chosen: bool) -> Path:
    """Choose a folder for a new run: the one that was asked for, else the next number."""
    if not chosen and (home / CONFIG).exists():
        raise FileExistsError(f"{home} is itself a run; choose another folder with --trainer.default_root_dir")
    if not chosen:
        return home / str(int(numbered(home)[-1].name) + 1 if numbered(home) else 0)
    if (home / LAST).exists():
        raise FileExistsError(
            f"{home} already holds a run; continue it with `pretext fit {home}` or choose another folder"
        )
    return home


def _resumed(home: Path, chosen: bool) -> Path:
    """Find the run to go on with; where none has begun, begin: so one command starts a run and goes on with it."""
    try:
        run = find(home)
    except FileNotFoundError:
        run = _fresh(home, chosen)
    if not (run / LAST).exists():
        _tell(f"{run} has no {LAST} to go on from: training begins at the first step")
    return run


@rank_zero_only
def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _steps_taken(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint, mmap=True)["global_step"])


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
