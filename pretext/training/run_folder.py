"""Where a run goes: runs/<modality>/<config>/<number or name>, kept for this process and made at its first step."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only

from pretext.core.configs import title_of
from pretext.core.runs import CONFIG, LAST, RUNS, find, numbered


class RunFolder:
    """Chooses a run's folder, and keeps it for this process until it is made or given back.

    A number is kept by a lock beside it, which the operating system frees where the process is killed. So processes
    that start at once get different numbers, and one that fails before its first step leaves nothing.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None

    def fresh(self, root: str | None, config: str | None, name: str | None) -> Path:
        """Choose a folder for a new run: the one that was asked for, else by name, else the next number.

        A name beside a `root`, which is that of the run whose config it is, makes a run beside that one.

        Raises:
            FileExistsError: there is a run already.
            ValueError: a name that could not be told from a number or a path.

        """
        if name is not None and not re.fullmatch(r"[\w.-]*[A-Za-z_][\w.-]*", name):
            raise ValueError(f"--name {name}: give a word, such as small")
        home = Path(root) if root else home_of(config)
        home = home.parent if root and name is not None else home
        if root or name is not None:
            home = home if name is None else home / name
            if (home / LAST).exists() or (name is not None and (home / CONFIG).exists()):
                raise FileExistsError(
                    f"{home} already holds a run; continue it with `pretext fit {home}` or choose another folder"
                )
            return home
        if (home / CONFIG).exists():
            raise FileExistsError(f"{home} is itself a run; choose another folder with --trainer.default_root_dir")
        return self.next_in(home)

    def next_in(self, home: Path) -> Path:
        """Choose the next number in a folder of runs."""
        number = int(numbered(home)[-1].name) + 1 if numbered(home) else 0
        while not self._keep(home, number):
            number += 1
        return home / str(number)

    def begun(self, root: str | None, config: str | None) -> Path | None:
        """Find the run to go on with, if there is one; without a folder also where release 0.1 put it."""
        places = [Path(root)] if root else [home_of(config), RUNS / home_of(config).name]
        for place in places:
            with suppress(FileNotFoundError):
                return find(place)
        return None

    def give_back(self) -> None:
        """Let others have the number; of a run that was not made nothing stays, not even empty folders above it."""
        if self._lock is None:
            return
        file = Path(self._lock.lock_file)
        _release(self._lock)
        self._lock = None
        with suppress(OSError):  # the first folder that is not empty stays
            for folder in file.parents:
                if folder == Path():
                    break
                folder.rmdir()

    def _keep(self, home: Path, number: int) -> bool:
        """Keep a number, unless another process does; one process of several that train together does it for all."""
        if (home / str(number)).exists():
            return False
        if getattr(rank_zero_only, "rank", 0):
            return True
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        if (home / str(number)).exists():  # made meanwhile, by a process that has ended
            _release(lock)
            return False
        self._lock = lock
        return True


def home_of(config: str | None) -> Path:
    """Return the folder of all runs of a config: runs/image/rotation."""
    return RUNS / (title_of(Path(config)) if config else "run")


def _release(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)  # first: who holds it may remove it
    lock.release()
