"""A run is a folder: config.yaml, checkpoints, logs, pictures. This file finds runs and builds what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
from jsonargparse import ArgumentParser, Namespace
from omegaconf import OmegaConf

from pretext.core.checkpoint_file import read_checkpoint
from pretext.core.configs import find_config
from pretext.core.runs import CONFIG as CONFIG
from pretext.core.runs import LAST as LAST
from pretext.core.runs import find as find
from pretext.core.runs import numbered as numbered
from pretext.core.yaml_file import read_yaml
from pretext.training.host import Host
from pretext.training.options import todays
from pretext.training.pretrainer import Pretrainer
from pretext.training.renamed import current, tell, translated
from pretext.training.trained import Run
from pretext.training.unwritten import PARTS, refuse_unwritten

HostT = TypeVar("HostT", bound=Host)
MODEL = ("model",)
"""What is looked at of a run's config where its data does not matter."""
BUILT = ("model", "data")


def read(path: str | Path, needed: Sequence[str] = PARTS) -> dict[str, Any]:
    """Read a config, a file or a packaged one by its name, with its interpolations resolved.

    Options with old names are told of where they stand in a user's file. `needed`: the parts that are looked at.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: it describes no model, or a needed part that no config can name, or is a picture.

    """
    path = find_config(path)
    config = OmegaConf.to_container(read_yaml(path), resolve=True)
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} is no config of a run: it has no `model`")
    plain = {str(key): value for key, value in config.items()}
    refuse_unwritten(path, plain, needed)
    if not (path.name == CONFIG and path.with_name("environment.json").is_file()):  # else a run wrote it
        tell(translated(plain)[1], str(path))
    return plain


def build(
    config: Mapping[str, Any], options: Sequence[str] = (), modality: str | None = None
) -> tuple[Host, pl.LightningDataModule | None]:
    """Build the module and the data of a config; `options` are command-line options such as `--data.root DIR`.

    The module is a `Pretrainer` unless the config's `model` names another class, such as `pretext.FineTune`. With a
    `modality`, data that can have several decodes, and misses, nothing but that one.
    """
    parser, parsed = _parsed(config, options)
    data = parsed.get("data")
    if modality is not None and data is not None and "modalities" in data.get("init_args", {}):
        data.init_args.modalities = [modality]
    pl.seed_everything(int(parsed.seed_everything), verbose=False)
    built = parser.instantiate(parsed)
    return built.model, built.get("data")


def resolved(config: Mapping[str, Any], options: Sequence[str] = ()) -> dict[str, Any]:
    """Return a config with `options` of the command line put in, as plain data: what a run's own config says of it.

    Raises:
        ValueError: it describes no `Pretrainer`.

    """
    if evaluates(config):
        raise ValueError(f"{config['model']['class_path']} poses no puzzles; this wants a config of pretext tasks")
    lightning = [option.removeprefix("--trainer.") for option in _joined(options) if option.startswith("--trainer.")]
    parser, parsed = _parsed(config, [option for option in _joined(options) if not option.startswith("--trainer.")])
    plain = OmegaConf.to_container(OmegaConf.create(parser.dump(parsed, skip_none=True)))
    trainer = OmegaConf.merge(current(config).get("trainer") or {}, OmegaConf.from_dotlist(lightning))
    assert isinstance(plain, dict)
    return {**{str(key): value for key, value in plain.items()}, "trainer": OmegaConf.to_container(trainer)}


def _joined(options: Sequence[str]) -> list[str]:
    """Join each option with the value behind it: --a b to --a=b."""
    joined: list[str] = []
    for word in options:
        if word.startswith("--") or not joined or "=" in joined[-1]:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined


def _parsed(config: Mapping[str, Any], options: Sequence[str]) -> tuple[ArgumentParser, Namespace]:
    """Check a config and options against the signatures of what they build."""
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    if evaluates(config):
        parser.add_subclass_arguments(Host, "model", fail_untyped=False)
    else:
        parser.add_class_arguments(Pretrainer, "model", fail_untyped=False)
    parser.add_subclass_arguments(pl.LightningDataModule, "data", fail_untyped=False, required=False)
    parser.add_argument("--seed_everything", type=int | bool, default=0)
    link_seed(parser, evaluates(config))
    known = {key: value for key, value in current(config).items() if key in ("model", "data", "seed_everything")}
    # A copy, since jsonargparse writes what it parsed into the dicts that it is given.
    return parser, parser.parse_args(todays(options, config), namespace=parser.parse_object(deepcopy(known)))


def build_data(options: Sequence[str]) -> pl.LightningDataModule:
    """Build a data module from command-line options alone, such as `--data datamodules.ImageFolder --data.root DIR`.

    Raises:
        ValueError: no data is named.

    """
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningDataModule, "data", fail_untyped=False, required=False)
    data: pl.LightningDataModule | None = parser.instantiate(parser.parse_args(todays(options))).get("data")
    if data is None:
        raise ValueError("no data is named; add --data datamodules.ImageFolder --data.root DIR")
    return data


def evaluates(config: Mapping[str, Any]) -> bool:
    """Tell whether a config's `model` names a class, an evaluator, instead of being a `Pretrainer`'s options."""
    return "class_path" in (config.get("model") or {})


def link_seed(parser: ArgumentParser, named: bool = False) -> None:
    """Let the one option --seed_everything seed weights, puzzles and data order (where a data module takes a seed).

    `named`: the config names the class of its model.
    """
    parser.link_arguments("seed_everything", "model.init_args.seed" if named else "model.seed", compute_fn=int)
    parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)


def restore(module: HostT, run: Path) -> HostT:
    """Load the trained weights of a run into `module` and put it into evaluation mode.

    Raises:
        FileNotFoundError: the run has no checkpoint yet.
        ValueError: it is no whole checkpoint.

    """
    file = run / LAST
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint {file}; train it first with `pretext fit {run}`")
    checkpoint = read_checkpoint(file)
    module.on_load_checkpoint(checkpoint)  # first: it may build the heads that the weights are for
    module.load_state_dict(checkpoint["state_dict"])
    return module.eval()


def load(path: str | Path | Run) -> Host:
    """Load a trained run, in evaluation mode: `pretext.load("runs/rotation").backbone`.

    Of what `pretext.fit` returned, whose config cannot say what it was built of, it is a copy.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.

    """
    if isinstance(path, Run) and not path.is_written:
        return path.copied()
    run = find(path)
    module, _ = build({key: value for key, value in read(run / CONFIG, MODEL).items() if key != "data"})
    return restore(module, run)
