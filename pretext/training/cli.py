"""`pretext fit`, `validate`, `test` and `predict`: LightningCLI, with a run folder and one-line errors."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_only

from pretext.core.checkpoint_file import read_checkpoint
from pretext.core.configs import with_files
from pretext.core.files import write_whole
from pretext.core.quiet import hush
from pretext.core.stop import STOP
from pretext.core.yaml_file import read_yaml
from pretext.training.callbacks import Checkpoint, Stagnation
from pretext.training.companions import TRAINER, keeps_others, loggers, plugins, watchers
from pretext.training.host import Host
from pretext.training.loaders import Adapted, taken
from pretext.training.loggers import Elsewhere, Paint, going_on
from pretext.training.one_writer import only_writer
from pretext.training.options import merged, todays
from pretext.training.parser import Parser
from pretext.training.prepared import prepared
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import CONFIG, LAST, evaluates, find, link_seed
from pretext.training.run_folder import RunFolder, home_of
from pretext.training.unwritten import refuse_unwritten

VERBS = ("fit", "validate", "test", "predict")


UNSAID = {"sync_batchnorm": None}  # then `SyncedBatchNorm` does what is right


class SaveConfig(SaveConfigCallback):
    """Write the whole config into the run, at fit alone: `validate RUN` must not rewrite how RUN was trained.

    It is written when the first step is done: a start that fails leaves nothing.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Do nothing yet; Lightning's own writes here."""

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if self.already_saved or not trainer.is_global_zero or trial:
            return
        self.already_saved = True
        config = self.config.clone()
        config.ckpt_path = None  # who starts anew from this config does not mean to resume
        write_whole(Path(trainer.default_root_dir) / CONFIG, self.parser.dump(config, skip_none=False))


class PretextCLI(LightningCLI):
    """LightningCLI that gives every run its folder, its logs, its checkpoints, and resumes where it stopped."""

    def __init__(self, args: Sequence[str], said: Sequence[str] | None = None, paint: Paint | None = None) -> None:
        """Run a verb.

        `said`: the command line as the user wrote it, where `args` are not. `paint`: paints puzzles for loggers of the
        user's own.
        """
        self.paint = paint
        args, self.run_name = _named(args)
        self.folder = RunFolder()
        hush()
        self.command, self.verb = shlex.join(["pretext", *(said or args)]), args[0]
        resumes = _takes_run(args)
        args = _with_run(with_files(args))
        known: dict[str, Any] = reduce(merged, _configs(args), {})
        self.named = evaluates(known)
        other = args if resumes and args[0] != "fit" else ()  # `fit` goes on with what it began with
        try:
            self._run(args, known, resumes, other)
        finally:
            self.folder.give_back()

    def _run(self, args: Sequence[str], known: dict[str, Any], resumes: bool, other: Sequence[str]) -> None:
        """Do what the words say: Lightning's command line does so where it is built."""
        reading = {"known": known, "silent": CONFIG if resumes else None, "other": other, "allow_abbrev": False}
        super().__init__(
            Host if self.named else Pretrainer,
            pl.LightningDataModule,
            subclass_mode_model=self.named,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            trainer_defaults={**TRAINER, **UNSAID},
            parser_class=Parser,
            parser_kwargs={"parser_mode": "omegaconf", "exit_on_error": False, args[0]: reading},
            args=[args[0], *todays(args[1:], known)],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static there, and only called on an object
        """Keep the verb that is asked for alone: the parser of each takes a tenth of a second to make."""
        return {self.verb: set(LightningCLI.subcommands()[self.verb])}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of two callbacks, and let --seed_everything seed puzzles and data order too."""
        for section, verb in (("evolve", "evolve"), ("nas", "nas sample")):
            about = f"for `pretext {verb}`; training leaves it alone"
            parser.add_argument(f"--{section}", type=dict, default=None, help=about)
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
        root, file = config.trainer.default_root_dir, str(config.config[0]) if config.get("config") else None
        fits, last = self.subcommand == "fit", config.ckpt_path == "last"
        self.run_dir = self._chosen(root, file, last) if fits else Path(root) if root else home_of(file)
        config.trainer.default_root_dir = str(self.run_dir)
        self.resumed_at = None
        if fits and last:
            saved = self.run_dir / LAST
            config.ckpt_path = str(saved) if saved.exists() else None
            self.resumed_at = _steps_taken(saved) if saved.exists() else 0
        if self.named and config.model.init_args.get("run"):  # found again from any folder
            config.model.init_args.run = str(Path(config.model.init_args.run).resolve())

    def _chosen(self, root: str | None, file: str | None, last: bool) -> Path:
        """Choose the folder: that of the run to go on with, or of a new one, also where there is none to go on with."""
        begun = self.folder.begun(root, file) if last else None
        run = begun or self.folder.fresh(root, file, self.run_name)
        if last and not (run / LAST).exists():
            _tell(f"{run} has no {LAST} to go on from: training begins at the first step")
        return run

    def instantiate_classes(self) -> None:
        """Build all; loggers go on with what they began."""
        with going_on(self.config[self.subcommand].trainer.logger, self.run_dir):
            super().instantiate_classes()
        if self.datamodule is not None:
            self.datamodule = taken(self.datamodule)
            if isinstance(self.datamodule, Adapted):  # one seed for weights, puzzles and order
                self.datamodule.seed = self.model.seed

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Add logs, progress and record unless the config says otherwise."""
        config = self.config_init[self.subcommand].trainer
        lines = config.enable_progress_bar is not False and not sys.stderr.isatty()
        fits, own = self.subcommand == "fit", [] if config.logger in (None, True) else _listed(config.logger)
        if config.logger is not False:
            kwargs["logger"] = loggers(self.run_dir, self.resumed_at, own, waits=True) if fits else own or False
        elsewhere = [Elsewhere(own, self.paint)] if fits and own else []
        kwargs["callbacks"] = [*(config.callbacks or []), *watchers(self.command, lines), *elsewhere]
        kwargs["plugins"] = plugins(_listed(config.plugins), config.sync_batchnorm)
        kwargs["enable_checkpointing"] = keeps_others(kwargs["callbacks"])  # Checkpoint keeps the last one
        return prepared(super().instantiate_trainer(**kwargs))

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a verb; a run that is trained belongs to one process (of several ranks, to the first)."""
        trainer = self.trainer
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        first = trainer.node_rank == trainer.local_rank == 0  # global ranks are known later
        with only_writer(self.run_dir) if subcommand == "fit" and first and not trial else nullcontext():
            super()._run_subcommand(subcommand)

    def after_fit(self) -> None:
        """Tell where the run is and what comes next; a signal that came too late to stop it ends the process now.

        Raises:
            SystemExit: there was one.

        """
        if self.trainer.is_global_zero:
            print(self._ending())
        STOP.check()

    def _ending(self) -> str:
        """Say where the run is, what could not be read, and what comes next."""
        run, step = self.run_dir, self.trainer.global_step
        if not (run / CONFIG).exists():
            return "no step was taken, so no run was made"
        if step == self.resumed_at:
            longer = f"pretext {self.model.verb} {run} --trainer.max_steps N (or max_epochs) trains it for longer"
            return f"nothing to do: {run} is finished, at step {step}; {longer}"
        skipped = getattr(self.datamodule, "skipped", None) or {}
        count = f"{len(skipped)} file{'s' if len(skipped) > 1 else ''}"
        files = f"{count} could not be read, or only in part: {run / 'skipped.txt'}\n" if skipped else ""
        then = (
            f"measure: pretext test {run}" if self.named else f"look: pretext show {run}; measure: pretext probe {run}"
        )
        if self.model.verb != "fit":  # another verb writes what it found
            then = f"what it found: pretext {self.model.verb} {run}"
        return f"{files}run: {run}, step {step}{self._cut_short()}; {then}"

    def _cut_short(self) -> str:
        """Say so where epochs, of which there is a limit by default, ended a run that was to take more steps."""
        epochs, steps = self.trainer.max_epochs or -1, self.trainer.max_steps
        if self.trainer.global_step >= steps or not 0 < epochs <= self.trainer.current_epoch:
            return ""
        return f" (max_epochs={epochs} ended it before max_steps={steps}: --trainer.max_epochs -1 lifts that)"

    def after_validate(self) -> None:
        """Say what comes next."""
        self._next()

    def after_test(self) -> None:
        """Say what comes next."""
        self._next()

    def after_predict(self) -> None:
        """Say what comes next."""
        self._next()

    def _next(self) -> None:
        if self.trainer.is_global_zero and (self.run_dir / CONFIG).exists():
            print(f"a page of the run: pretext report {self.run_dir}")


def _named(args: Sequence[str]) -> tuple[list[str], str | None]:
    """Take --name NAME out of the words: it belongs to the run, not to what a config says.

    Raises:
        ValueError: it names a run that is to go on, or stands beside a folder.

    """
    words, name = list(args), None
    for place, word in enumerate(words):
        if word == "--name" or word.startswith("--name="):
            end = place + 1 if "=" in word else place + 2
            name = word.partition("=")[2] or " ".join(words[place + 1 : end])
            del words[place:end]
            break
    if name is not None and (_takes_run(words) or words[:1] != ["fit"]):
        raise ValueError(f"--name {name} is for a new run, of pretext fit -c CONFIG")
    if name is not None and any(word.startswith("--trainer.default_root_dir") for word in words):
        raise ValueError(f"--name {name} and --trainer.default_root_dir both say where the run goes; give one of them")
    return words, name


def _takes_run(args: Sequence[str]) -> bool:
    return len(args) > 1 and args[0] in VERBS and not args[1].startswith("-")


def _with_run(args: list[str]) -> list[str]:
    """Replace `VERB RUN ...` by the options that it stands for; `fit RUN` resumes."""
    if not _takes_run(args):
        return args
    run = find(args[1])
    refuse_unwritten(run / CONFIG)
    ckpt = "last" if args[0] == "fit" else str(run / LAST)
    known = ["-c", str(run / CONFIG), "--trainer.default_root_dir", str(run), "--ckpt_path", ckpt]
    return [args[0], *known, *args[2:]]


def _configs(args: Sequence[str]) -> list[dict[str, Any]]:
    """Read the config files that a command line names; one that cannot be read is the parser's to complain of."""
    files = [value for option, value in pairwise(args) if option in ("-c", "--config")]
    files += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    read = [OmegaConf.to_container(read_yaml(file)) for file in files if Path(file).is_file()]
    return [{str(key): value for key, value in config.items()} for config in read if isinstance(config, dict)]


@rank_zero_only
def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _steps_taken(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint, mmap=True)["global_step"])


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
