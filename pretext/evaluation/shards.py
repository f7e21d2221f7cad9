"""Several processes embed one set. Its batches are dealt to them in turn, as one process would cut them.

The first process leads: it says what is to be embedded, joins the rows, and does everything else. The others help: they
wait for a call, write the rows of their batches into files, and wait for the next. So the leader reads and solves just
what one process would have, to the last digit. Calls travel through a store of torch's, rows through a folder that all
processes see.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain, count, islice
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, NamedTuple

import torch

from pretext.evaluation.cache import Columns, read_columns, write_columns

Types = dict[str, torch.dtype]
Look = Callable[[Iterable[Any], Types], Iterator[Columns]]
"""Looks at batches, and yields the rows of each in these types, which the first batch of all decides on."""
PATIENCE = timedelta(seconds=1)


class Call(NamedTuple):
    """What the leader wants to have embedded."""

    number: int
    what: Any
    """Says which network sees which set; plain data."""
    folder: str


class Crew:
    """The processes that embed together.

    Args:
        store: of torch's (`torch.distributed.Store`), through which they talk.
        rank: of this one; 0 leads.
        world: how many there are.
        home: folder for the rows on their way, which all processes see.
        threads: of the leader while it embeds, where they share one machine's cores; none: as they are.
        watch: is called while the leader waits, and raises if a helper is gone.

    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world: int,
        home: Path,
        threads: int | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.rank, self.world, self.home = store, rank, world, home
        self.threads, self.watch = threads, watch
        self.code = 1  # the leader's exit code, once it has told
        self._calls = 0

    def lead(self, what: Any, look: Look, batches: Iterable[Any]) -> Iterator[Columns]:
        """Yield what `look` yields of all batches, in their order, most of it made by others."""
        self.home.mkdir(parents=True, exist_ok=True)
        call = Call(self._calls, what, mkdtemp(prefix="shards-", dir=self.home))
        self._calls += 1
        self._tell(f"call/{call.number}", call)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(self.threads or threads)
            shares = [self._own_share(call, look, batches)]
            torch.set_num_threads(threads)
            shares += [self._hear(f"done/{call.number}/{rank}") for rank in range(1, self.world)]
            yield from _joined(Path(call.folder), shares)
        finally:
            torch.set_num_threads(threads)
            rmtree(call.folder, ignore_errors=True)

    def _own_share(self, call: Call, look: Look, batches: Iterable[Any]) -> list[int]:
        types: Types = {}
        rows = look(dealt(batches, 0, self.world), types)
        try:
            first = next(rows)
        except BaseException:  # there is none, or it is bad: then nobody is to look at anything
            self._tell(f"types/{call.number}", {})
            raise
        self._tell(f"types/{call.number}", types)
        return _written(Path(call.folder) / "0", chain((first,), rows))

    def calls(self) -> Iterator[Call]:
        """Yield what the leader asks for until it has all it wants; then it tells its exit code."""
        for number in count():
            call = self._hear(f"call/{number}")
            if not isinstance(call, Call):
                self.code = int(call)
                return
            yield call

    def help(self, call: Call, prepare: Callable[[Any], tuple[Look, Iterable[Any]]]) -> None:
        """Embed this process's share of a call; what goes wrong is the leader's to raise."""
        types = self._hear(f"types/{call.number}")
        if not types:
            return
        try:
            look, batches = prepare(call.what)
            mine = look(dealt(batches, self.rank, self.world), types)
            share: Any = _written(Path(call.folder) / str(self.rank), mine)
        except Exception as error:
            share = error
        self._tell(f"done/{call.number}/{self.rank}", share)

    def dismiss(self, code: int) -> None:
        """Let the helpers go, with the leader's exit code."""
        self._tell(f"call/{self._calls}", code)

    def _tell(self, key: str, value: Any) -> None:
        try:
            self.store.set(key, pickle.dumps(value))
        except (TypeError, AttributeError, pickle.PicklingError):  # an exception that cannot travel
            self.store.set(key, pickle.dumps(RuntimeError(f"{type(value).__name__}: {value}")))

    def _hear(self, key: str) -> Any:
        """Wait for what another process tells; an exception is raised here."""
        while True:
            with suppress(torch.distributed.DistStoreError):  # not yet
                self.store.wait([key], PATIENCE)
                break
            self.watch()
        value = pickle.loads(self.store.get(key))
        if isinstance(value, Exception):
            raise value
        return value


class Sharing(NamedTuple):
    """A crew, and of which network and set the features are wanted."""

    crew: Crew
    what: tuple[Any, ...] = ()

    def of(self, *more: Any) -> Sharing:
        """Say more of what is wanted."""
        return self._replace(what=(*self.what, *more))


def dealt(batches: Iterable[Any], rank: int, world: int) -> Iterable[Any]:
    """Take batches `rank`, `rank` + `world`, ...; what can leave out the others before it reads them does so."""
    shard = getattr(batches, "shard", None)
    return islice(batches, rank, None, world) if shard is None else shard(rank, world)


def _written(folder: Path, chunks: Iterable[Columns]) -> list[int]:
    """Write the rows of batches into a folder, and tell how many each has."""
    sizes: list[int] = []

    def counted() -> Iterator[Columns]:
        for chunk in chunks:
            sizes.append(len(next(iter(chunk.values()))))
            yield chunk

    write_columns(folder, counted())
    return sizes


def _joined(folder: Path, shares: Sequence[list[int]]) -> Iterator[Columns]:
    """Yield the rows of all batches in turn."""
    columns, starts = [read_columns(folder / str(rank)) for rank in range(len(shares))], [0] * len(shares)
    for turn in range(max(map(len, shares))):
        for rank, sizes in enumerate(shares):
            if turn < len(sizes):
                stop = starts[rank] + sizes[turn]
                yield {name: rows[starts[rank] : stop] for name, rows in columns[rank].items()}
                starts[rank] = stop
