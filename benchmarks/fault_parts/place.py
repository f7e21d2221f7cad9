"""A folder that somebody else has written to, and a mark that nothing may leave there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from fault_parts.calls import called
from fault_parts.setting import Setting, of_pictures


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch '{self.mark}'",)


class Place:
    """A folder with a finished run, and a mark that nothing may leave."""

    def __init__(self, setting: Setting, name: str) -> None:
        self.home, self.setting = setting.out / "hostile" / name, setting
        rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.mark = self.home / "executed"
        self.run = self.home / "run"

    def trained(self) -> Place:
        """Put a finished run there, a copy of one that is made once."""
        whole = self.setting.out / "hostile" / "whole"
        if not (whole / "checkpoints" / "last.ckpt").exists():
            config = self.setting.write("hostile", of_pictures(self.setting.pictures(), None, 1))
            must(self.home, "fit", "-c", config, "--trainer.default_root_dir", whole)
        shutil.copytree(whole, self.run)
        return self

    def call(self, *words: object) -> tuple[int | str, str]:
        """Call the command line here; what is marked executed is refused.

        Raises:
            AssertionError: code was executed, or the answer is more than a line.

        """
        code, said = called(self.home, [str(word) for word in words])
        self.untouched()
        if code and (not isinstance(code, int) or "Traceback" in said):
            raise AssertionError(f"{words}: {code}: {said[-800:]}")
        return code, said.strip().splitlines()[-1] if said.strip() else ""

    def untouched(self) -> None:
        """Refuse a mark.

        Raises:
            AssertionError: there is one.

        """
        if list(self.home.rglob("executed*")):
            raise AssertionError("code was executed")


def must(home: Path, *words: object) -> None:
    """Call the command line.

    Raises:
        RuntimeError: it failed.

    """
    code, said = called(home, [str(word) for word in words])
    if code:
        raise RuntimeError(f"{words}: {code}: {said[-800:]}")


def shortened(line: str, setting: Setting) -> str:
    """Leave the folder of the results out of a line."""
    return line.replace(str(setting.out), "")[:300] or "did its work"
