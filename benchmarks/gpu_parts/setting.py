"""What all parts are given: folders, sizes, the device, and ways to run the verbs of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
import yaml
from provenance import REPOSITORY

from gpu_parts.photos import make_photos, make_small
from pretext.training.cli import PretextCLI

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """Where everything lies, and how large it is.

    Args:
        root: the folder of data; it holds `cifar10/` or `cifar10.tar.xz`.
        out: the folder of results, and of all that is made on the way.
        dry: tiny sizes on the processor, which only show that everything runs.
        seconds: that a start has.
        starts: how many starts a long training may take.

    """

    root: Path | None
    out: Path
    dry: bool
    seconds: float
    starts: int = 2

    @property
    def device(self) -> str:
        """What is measured."""
        return "cpu" if self.dry else "cuda"

    def size(self, real: T, dry: T) -> T:
        """Choose a size."""
        return dry if self.dry else real

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time(self, step: Callable[[], object], times: int) -> float:
        """Seconds per call, the device waited for."""
        self.synchronize()
        begin = perf_counter()
        for _ in range(times):
            step()
        self.synchronize()
        return (perf_counter() - begin) / times

    @cached_property
    def cifar(self) -> Path:
        """The folder of CIFAR-10, `{train,test}/<class>/*`; dry runs make small pictures where there is none.

        Raises:
            ValueError: there is neither the folder nor the archive.

        """
        if self.root is not None and (self.root / "cifar10" / "train").is_dir():
            return self.root / "cifar10"
        if self.root is not None and (archive := self.root / "cifar10.tar.xz").is_file():
            if not (self.out / "data" / "unpacked").exists():
                with tarfile.open(archive) as tar:
                    tar.extractall(self.out / "data", filter="data")
                (self.out / "data" / "unpacked").touch()
            return self.out / "data" / "cifar10"
        if self.dry:
            return make_small(self.out / "small", 24)
        raise ValueError(f"--root {self.root} holds neither cifar10/train/<class>/* nor cifar10.tar.xz")

    @cached_property
    def photos(self) -> Path:
        """A folder of JPEG photos of 500 px, made here: 5,400 files to train on, four names for each photo."""
        return make_photos(self.out / "photos", self.size(1500, 24), self.size(4, 1))

    @contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        """Let what a verb prints go to a file of the results."""
        file = self.out / "logs" / f"{name.replace('/', '-')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as log, redirect_stdout(log), redirect_stderr(log):
            yield

    def trainer(self) -> dict[str, Any]:
        """Options of every trainer."""
        quiet = {"enable_progress_bar": False}
        return {**quiet, "accelerator": "cpu"} if self.dry else {**quiet, "accelerator": "gpu", "devices": 1}

    def write(self, name: str, config: Mapping[str, Any]) -> Path:
        """Write a config and return its file."""
        file = self.out / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        trainer = {**self.trainer(), **config.get("trainer", {})}
        file.write_text(yaml.safe_dump({**config, "trainer": trainer}, sort_keys=False))
        return file

    def fit(self, name: str, config: Mapping[str, Any], run: Path) -> PretextCLI:
        """Train in this process; errors are raised as they are."""
        with self.quiet(name):
            return PretextCLI(["fit", "-c", str(self.write(name, config)), "--trainer.default_root_dir", str(run)])

    def verb(self, name: str, *args: str) -> PretextCLI:
        """Call `fit`, `validate` or `test` in this process; errors are raised as they are."""
        with self.quiet(name):
            return PretextCLI(list(args))

    def start(self, log: Path, *args: str) -> subprocess.Popen[bytes]:
        """Start a verb in a process of its own, which says what it does in a file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        with log.open("ab") as file:
            command = [sys.executable, "-m", "pretext", *args]
            here = REPOSITORY / "benchmarks"  # where `pretext` looks last, and finds `gpu_parts`
            return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=here)


def last_lines(log: Path, count: int = 3) -> str:
    """What a process said last."""
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-count:]) if log.exists() else ""
