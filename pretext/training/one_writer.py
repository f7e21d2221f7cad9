"""One process trains a run: a second one that would write into its folder is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pretext.core.files import remove_drafts

WRITTEN = ("config.yaml", "environment.json", "chance.json", "metrics.csv", "checkpoints/last.ckpt")
"""What training writes into a run; others, such as `pretext report`, may be writing other files meanwhile."""


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold a run's folder while it is trained; the system lets it go with the process, however that ends.

    The folder itself is locked, so that no file is left in it. One that was made for that goes if no step was taken,
    and with it the list of files that could not be read. Where the disk knows no locks, nothing is held. Drafts of a
    training that was killed are removed.

    Raises:
        BlockingIOError: another process trains the run.
        OSError: the folder cannot be made.

    """
    made = [place for place in (run, *run.parents) if not place.exists()]
    run.mkdir(parents=True, exist_ok=True)
    folder = os.open(run, os.O_RDONLY)
    try:
        _lock(folder, run)
        for name in WRITTEN:
            remove_drafts(run / name)
        yield
    finally:
        os.close(folder)
        if made and not (run / WRITTEN[0]).exists():  # no step was taken, so there is no run to list files of
            (run / "skipped.txt").unlink(missing_ok=True)
        with suppress(OSError):  # the first that is not empty stays
            for place in made:
                place.rmdir()


def _lock(folder: int, run: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"another process is training {run}, and two would spoil each other's files; wait until it has ended, or "
            "choose another folder with --trainer.default_root_dir"
        ) from error
    except OSError:
        return  # a network folder without locks
