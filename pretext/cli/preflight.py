"""What is told before anything slow is imported: files and folders that are missing, names that are misspelt."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pretext.cli.named_classes import check_bare, check_class
from pretext.cli.named_options import check_option
from pretext.cli.words import leaves, parted, plain, together
from pretext.core import catalogue
from pretext.core.configs import with_files
from pretext.core.runs import CONFIG

LOGGERS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
"""Lightning's loggers that need a library, which is the name of the extra too."""
OWN = ("--trainer", "--data", "--model", "--checkpoint", "--stagnation")


def ready(words: Sequence[str], run: Path | None = None) -> list[str]:
    """Check the words of a verb that takes a config, and write files where packaged configs are named.

    `run`: a run whose config the options are for.

    Raises:
        FileNotFoundError: a config or the folder of the data is not there.
        ValueError: a config is no config of training, or a name is misspelt, or -c has no value.

    """
    if bare := next((option for option, value in parted(words) if option in ("-c", "--config") and not value), None):
        raise ValueError(f"{bare} wants a config behind it, a file or one of ours; `pretext configs` lists ours")
    words = with_files(words)
    files = [Path(value) for option, value in parted(words) if option in ("-c", "--config") and value]
    configs = [plain(file) for file in files]
    if files and not any("model" in config for config in configs):
        raise ValueError(not_training(files[-1], configs[-1]))
    for path, value in (item for config in configs for item in leaves(config)):
        if path.endswith("class_path"):
            check_class(str(value))
            _check_logger(str(value))
    known = configs if run is None else [_without_other_data(plain(run / CONFIG), words)]
    _check_options(words, known)
    for file, config in zip(files, configs, strict=True):
        for path, _ in leaves(config):
            check_option(path.removeprefix("."), config, f"{file}: ")
    _check_root(words, known)
    _check_checkpoint(words)
    return words


def not_training(file: Path, config: Mapping[str, Any]) -> str:
    """Say what to do with a file that is no config of training."""
    if "boards" in config:
        return f"{file} is a benchmark: pretext bench {file}"
    if "network" in config and "tasks" in config:
        return f"{file} is a suite of tasks to predict: pretext transfer predict {file}"
    if "class_path" in config:
        return f"{file} describes data; give it to --data, beside a config of training: -c CONFIG --data {file}"
    return f"{file} is no config of training: it has no `model`. `pretext configs` lists ours"


def _without_other_data(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Leave out a run's data where the words name other data, which starts from its own defaults."""
    other = any(option == "--data" for option, _ in parted(words))
    return {key: value for key, value in config.items() if not (other and key == "data")}


def _check_options(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an option of the trainer that there is not (no abbreviation is taken), and a misspelt class or task."""
    tree = together(words, configs)
    added = {option.split(".")[2] for option, _ in parted(words) if re.fullmatch(r"--model\.tasks\.\w+", option)}
    for option, value in parted(words):
        first, *rest = option.removeprefix("--").split(".")
        if first == "trainer" and rest and (names := catalogue.trainer_options()):
            name = rest[0].rstrip("+")
            if name not in names:
                raise ValueError(f"unknown option --trainer.{name}{_like(name, names, '--trainer.')}")
        if value is not None and option.startswith("--trainer.logger"):
            _check_logger(value)
        if value is not None and option.startswith(OWN):
            check_class(value)
            check_bare(option.removeprefix("--"), value)
        _check_task(option, configs, added)
        if option.startswith("--"):
            check_option(option.removeprefix("--"), tree)


def _check_task(option: str, configs: Sequence[Mapping[str, Any]], added: Collection[str]) -> None:
    """Refuse an option of a task that the config does not have, nor the words add."""
    parts = option.removeprefix("--").split(".")
    tasks = [name for config in configs for name in _tasks(config)]
    inside = parts[:2] == ["model", "tasks"] and len(parts) > 3 and parts[3] != "class_path"
    if inside and tasks and parts[2] not in {*tasks, *added}:
        raise ValueError(f"the config has no task {parts[2]}, but {', '.join(tasks)}{_like(parts[2], tasks, '')}")


def _like(name: str, names: Sequence[str], mark: str) -> str:
    like = get_close_matches(name, names, n=1)
    return f"; did you mean {mark}{like[0]}?" if like else ""


def _tasks(config: Mapping[str, Any]) -> list[str]:
    model = config.get("model")
    tasks = model.get("tasks") if isinstance(model, dict) else None
    return list(tasks) if isinstance(tasks, dict) else []


def _check_root(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a folder of data that is not there; only for classes of ours that can do nothing without it."""
    named = [config["data"] for config in configs if isinstance(config.get("data"), dict)]
    data: Mapping[str, Any] = named[-1] if named else {}
    path, given = str(data.get("class_path", "")), dict(data.get("init_args") or {})
    chosen, root = given.get("root"), None
    for option, value in parted(words):
        if option == "--data" and value is not None:
            path, chosen = (value, chosen) if not Path(value).is_file() else _of_file(Path(value))
        if option in ("--data.root", "--data.init_args.root"):
            root = value
    takes = {option.name: option.default for one in catalogue.data() if one.name == path for option in one.options}
    if takes.get("root", "") is not None or "download" in takes:
        return
    if root is None and (not isinstance(chosen, str) or "${" in chosen):
        if chosen is None:
            raise FileNotFoundError(f"{path} needs the folder of its data: add --data.root DIR")
        return
    folder = Path(str(chosen) if root is None else root).expanduser()
    if root is None and not folder.exists():
        raise FileNotFoundError(f"the config's folder of data, {chosen}, is not here: add --data.root DIR")
    if not folder.exists():
        raise FileNotFoundError(f"--data.root {root}: there is no such folder")
    if folder.is_dir() and not any(folder.iterdir()):
        raise ValueError(f"the folder of data, {folder}, is empty; give another: --data.root DIR")


def _check_logger(text: str) -> None:
    """Refuse a logger whose library is not installed, and name the extra of ours that brings it.

    Raises:
        ModuleNotFoundError: it is not.

    """
    for name, library in LOGGERS.items():
        if re.search(rf"\b{name}\b", text) and find_spec(library) is None:
            raise ModuleNotFoundError(f"{name} needs the library {library}: pip install 'pretext-tasks[{library}]'")


def _check_checkpoint(words: Sequence[str]) -> None:
    """Refuse a checkpoint that is not there; Lightning knows some words of its own, and addresses."""
    for option, value in parted(words):
        own = value is None or value in ("last", "best", "hpc", "null") or ":" in value
        if option == "--ckpt_path" and value is not None and not own and not Path(value).expanduser().exists():
            raise FileNotFoundError(f"--ckpt_path {value}: there is no such file; `last` goes on with the run's own")


def _of_file(file: Path) -> tuple[str, Any]:
    content = plain(file)
    return str(content.get("class_path", "")), (content.get("init_args") or {}).get("root")
