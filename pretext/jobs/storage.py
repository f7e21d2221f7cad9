"""Where a study is kept: a SQLite file for the workers of one machine, a PostgreSQL server for those of many."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, Connection, NullPool, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

GRACE = 3  # heartbeats that a worker may miss before it counts as dead
_BUSY = 100  # seconds that a writer waits for other writers of a SQLite file before it fails
_ATTEMPTS = 5  # to make a server's tables: where several processes do so at once, all but one fail
_WANTS = "it wants sqlite:///FILE, or postgresql://USER@HOST/DATABASE"


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """Open a study's storage; make its file's folder and its tables where they are not.

    Args:
        url: `sqlite:///FILE` (on a disk of this machine: network folders do not lock) or `postgresql://...`.
        heartbeat: seconds between a worker's signs of life.

    Raises:
        ValueError: it is no such URL.
        ImportError: the driver of PostgreSQL is not installed.
        ConnectionError: the database cannot be opened. No message names a password.

    """
    place = parse_url(url)
    if place.get_backend_name() == "sqlite":
        Path(place.database or "").parent.mkdir(parents=True, exist_ok=True)
        # No isolation level: else Python's driver begins a transaction at the first write only.
        storage = _connect(place, heartbeat, {"connect_args": {"timeout": _BUSY, "isolation_level": None}})
        event.listen(storage.engine, "begin", _begin)
        return storage
    return _connect(place, heartbeat, {})


@contextmanager
def one_at_a_time(url: str) -> Iterator[bool]:
    """Let one process at a time make the tables and the study of a SQLite file; give whether there is a file to lock.

    A server has no such lock: there, who makes the study first wins, and the others wait for it.
    """
    place = parse_url(url)
    if place.get_backend_name() != "sqlite":
        yield False
        return
    file = Path(place.database or "")
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        yield True


def parse_url(url: str) -> URL:
    """Read the URL of a storage; without a driver in it, PostgreSQL is reached through psycopg 3."""
    try:
        place = make_url(url)
    except (ArgumentError, ValueError):  # the URL may hold a password, and the cause quotes it
        raise ValueError(f"open_study got a storage that is no URL; {_WANTS}") from None
    if place.drivername in ("postgres", "postgresql"):
        place = place.set(drivername="postgresql+psycopg")
    if place.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"open_study got a storage {safe_text(place)}; {_WANTS}")
    if place.get_backend_name() == "sqlite" and place.database in (None, "", ":memory:"):
        raise ValueError(f"open_study got a storage {safe_text(place)} which workers cannot share; {_WANTS}")
    if place.drivername == "postgresql+psycopg" and find_spec("psycopg") is None:
        raise ImportError(
            f"open_study got a storage {safe_text(place)}, but psycopg is not installed; "
            "install it with `pip install 'pretext-tasks[postgresql]'`"
        )
    return place


def safe_text(place: URL) -> str:
    """Write a URL without its password and without its options, which may hold another one."""
    return place.set(query={}).render_as_string(hide_password=True)


def without_password(word: str) -> str:
    """Return a word of a command line, and if it is the URL of a database, without its password."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return word if "://" not in value else f"{option}{equals}{safe_text(make_url(value))}"


def _connect(place: URL, heartbeat: int, options: dict[str, Any]) -> RDBStorage:
    """Open the database, and again where another process was making the same tables.

    No connection is kept from one transaction to the next: data loaders fork, and must not inherit one; a server may be
    restarted meanwhile; and nothing stays open that somebody would have to close.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats: experimental since Optuna 2.9
                return RDBStorage(
                    place.render_as_string(hide_password=False),
                    engine_kwargs={"poolclass": NullPool, **options},
                    heartbeat_interval=heartbeat,
                    grace_period=GRACE * heartbeat,
                )
        except (SQLAlchemyError, StorageInternalError) as error:
            if attempt == _ATTEMPTS - 1:
                raise ConnectionError(
                    f"open_study could not open {safe_text(place)} ({getattr(error, 'orig', None) or error}); is the "
                    "server up, does the database exist, may this user make tables, is the disk full?"
                ) from error
            time.sleep(0.3)
    raise AssertionError("not reached")


def _begin(connection: Connection) -> None:
    """Take SQLite's lock for writing at once.

    Optuna reads a trial's state and then sets it, in one transaction. SQLite knows no `FOR UPDATE`, so two workers
    could both read "waiting" and both take the same candidate.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")
