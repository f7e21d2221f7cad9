"""The files that a data module leaves out, or uses in part, and the run folder's list of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

from pytorch_lightning import LightningDataModule


@final
class Skipped:
    """Names of the files that a data module could not use, or only in part, each with its cause."""

    def __init__(self, data: LightningDataModule) -> None:
        self.data = data
        self.causes: dict[str, str] = {}

    def add(self, causes: Mapping[str, str]) -> None:
        """Take note of some, and list them."""
        self.causes.update(causes)
        self.write()

    def write(self) -> None:
        """Append to the list in the run's folder what it does not name yet (a resumed run finds its own list there).

        A run that has not made its folder yet, since it has taken no step, has no list; the next call writes all.
        """
        if not self.causes or self.data.trainer is None:
            return
        path = Path(self.data.trainer.default_root_dir) / "skipped.txt"
        if not path.parent.is_dir():
            return
        with path.open("a+", encoding="utf-8", errors="surrogateescape") as file:
            file.seek(0)
            known = {line.split("\t")[0] for line in file.read().split("\n")}
            lines = {one_line(name): one_line(cause) for name, cause in self.causes.items()}
            file.writelines(f"{name}\t{cause}\n" for name, cause in lines.items() if name not in known)


def one_line(text: str) -> str:
    """Escape what would break a line of a tab-separated list."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
