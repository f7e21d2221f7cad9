"""The help of `pretext fit`, ours first, made from the sources in a moment; the rest stands behind `--help all`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap

from pretext.core.catalogue import PACKAGE, Option, described

WIDTH = 118
HEAD = {
    "fit": "pretext fit -c CONFIG [options]   train;  pretext fit RUN [options]   go on with a run",
    "validate": "pretext validate RUN [options]   scores on the validation items",
    "test": "pretext test RUN [options]   scores on the test items",
    "nas search": "pretext nas search -c CONFIG | RUN [options]   find cells by gradient (DARTS), or go on",
    "predict": "pretext predict RUN [options]   pooled features of the test items to a file",
}
START = """
  -c CONFIG                     a file, or a packaged config by its name, such as image/rotation (`pretext configs`)
  --name NAME                   call the run runs/CONFIG/NAME instead of runs/CONFIG/<number>
  --ckpt_path last              go on with the run in --trainer.default_root_dir, or begin it
  --seed_everything N           seed of weights, puzzles and the order of data (default 0)

Data (`pretext data` lists ours, `pretext data NAME` one's options; `--data.help CLASS` those of any class)
  --data CLASS|FILE             instead of the config's, such as datamodules.Photos or data/esc10
  --data.root DIR               where the data are; so every argument of the class is an option: --data.batch_size 32

Network and tasks (`pretext tasks`, `pretext backbones` list ours)"""
TASK = """\
  --model.tasks.NAME CLASS      one more task, such as --model.tasks.turn pretext.Rotation; its arguments follow the
                                name: --model.tasks.turn.turns one"""
TRAINER = """
Training (Lightning's Trainer; all of its options: --help all)
  --trainer.max_epochs N, --trainer.max_steps N, --trainer.max_time DD:HH:MM:SS   how long
  --trainer.accelerator cpu|gpu|auto, --trainer.devices N, --trainer.num_nodes N, --trainer.strategy ddp   on what
  --trainer.precision bf16-mixed, --trainer.accumulate_grad_batches N, --trainer.gradient_clip_val X
  --trainer.val_check_interval X, --trainer.limit_train_batches X, --trainer.limit_val_batches X
  --trainer.logger CLASS        beside our own history, such as pytorch_lightning.loggers.WandbLogger
  --trainer.callbacks+ CLASS    one more, such as pretext.callbacks.Online: scores while it trains
  --trainer.default_root_dir RUN   the run's folder, instead of the next number in runs/CONFIG
  --trainer.fast_dev_run true   a step of everything, nothing is written"""
END = """
Examples
  pretext fit -c image/digits                                   # nothing to download
  pretext fit -c image/rotation --data.root DIR --trainer.max_epochs 1
  pretext fit -c image/rotation --data.root DIR --model.backbone pretext.NIN --model.optim.optimizer.lr 0.05
  pretext fit runs/image/rotation/0 --trainer.max_epochs 20     # go on, for longer

A config is the same options in a file: `pretext configs image/rotation --copy mine.yaml`. Every option of every class:
pretext {verb} --help all"""
PLACES = (  # where options come from: file, class, what stands before their names, what stands above them
    ("training/pretrainer.py", "Pretrainer", "--model.", ""),
    ("training/optimization.py", "Optim", "--model.optim.", "Optimisation"),
    ("training/execution.py", "Execution", "--model.execution.", "How the network is run"),
    ("training/callbacks/checkpoint.py", "Checkpoint", "--checkpoint.", "Checkpoints"),
    ("training/callbacks/stagnation.py", "Stagnation", "--stagnation.", "A warning where a loss stays at chance"),
)
SEARCH = (  # the same of a search of cells
    ("training/bilevel.py", "Bilevel", "--model.", ""),
    ("training/architecture.py", "ArchitectureOptim", "--model.architecture.", "The parameters of the architecture"),
    (*PLACES[1][:3], "The weights (in place of these defaults a search takes SGD without a warm-up)"),
    *PLACES[2:],
)
END_OF_SEARCH = """
Examples
  pretext nas search -c nas/darts --data.root DIR
  pretext nas search runs/nas/darts/0                            # go on
  pretext fit -c runs/nas/darts/0/network.yaml                   # train the network that it found

Every option of every class: pretext {verb} --help all"""


def help_of(verb: str) -> str:
    """Write the help of `fit`, or of another verb of a run."""
    lines = [f"usage: {HEAD[verb]}", *START.splitlines()]
    for file, name, before, title in SEARCH if verb == "nas search" else PLACES:
        options = described(PACKAGE / file, name).options
        lines += ["", title] if title else []
        lines += [line for option in options for line in _line(option, before)]
    end = END_OF_SEARCH if verb == "nas search" else END
    return "\n".join([*lines, *TRAINER.splitlines(), *end.format(verb=verb).splitlines()])


def _line(option: Option, before: str) -> Iterator[str]:
    """Describe an option in a line, in the first words that are said of it; groups stand below by themselves."""
    if option.name in ("optim", "architecture", "execution", "seed"):
        return
    if option.name == "tasks":
        yield TASK
        return
    said = re.split(r"[;.:](?: |$)", option.about)[0]
    default = "" if option.default in (None, "None") else f" (default {option.default})"
    head = f"  {before}{option.name} {_kind(option)}"
    yield from wrap(f"{head:31} {said}{default}", WIDTH, subsequent_indent=" " * 32, drop_whitespace=True)


def _kind(option: Option) -> str:
    kinds = {"int": "N", "float": "X", "bool": "true|false", "int | None": "N", "float | None": "X"}
    named = {"Backbone": "CLASS", "WeightingFactory": "CLASS", "OptimizerFactory": "CLASS", "Augment | None": "CLASS"}
    return kinds.get(option.kind) or named.get(option.kind) or "VALUE"


def options_text(options: Sequence[Option], before: str = "--") -> str:
    """Describe options below one another, for another verb's help."""
    lines = []
    for option in options:
        default = "" if option.default in (None, "None") else f" (default {option.default})"
        said = f"  {before + option.name:21} {option.about}{default}"
        lines += wrap(said, WIDTH, subsequent_indent=" " * 24, break_on_hyphens=False)
    return "\n".join(lines)
