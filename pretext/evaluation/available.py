"""The protocols that can be named: this project's own by their short names, a user's own by its class path."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

from pretext.evaluation.names import DEFAULT as DEFAULT
from pretext.evaluation.names import EVERY as EVERY
from pretext.evaluation.protocol import Description, Protocol
from pretext.evaluation.protocols.few_shot import FewShot
from pretext.evaluation.protocols.knn import NearestNeighbours
from pretext.evaluation.protocols.linear import LinearProbe
from pretext.evaluation.protocols.low_label import LowLabel
from pretext.evaluation.protocols.quality import Quality
from pretext.evaluation.protocols.regression import Regression
from pretext.evaluation.protocols.retrieval import Retrieval
from pretext.evaluation.protocols.svm import LinearSvm
from pretext.evaluation.protocols.transferability import Transferability
from pretext.evaluation.protocols.zero_shot import ZeroShot

OURS: tuple[type[Protocol], ...] = (
    NearestNeighbours,
    LinearProbe,
    LinearSvm,
    Quality,
    LowLabel,
    Transferability,
    Regression,
    FewShot,
    ZeroShot,
    Retrieval,
)
"""In the order in which a row has their scores."""
BY_CLASSES: dict[str, type[ZeroShot | Retrieval]] = {"zero_shot": ZeroShot, "retrieval": Retrieval}
"""Those that go by a file of classes."""
ONCE = tuple(protocol.description.name for protocol in OURS if protocol.description.once)
"""Those whose curves a result always has, be they empty."""
RESERVED = {"features", "stage", "dims", "chosen", "data", "protocol", "rows", "seconds", "command", "described"}
RESERVED |= {"entry", "kind", "seed", "pretext", "failed", "architecture", "compared", "nearest", "test"}
RESERVED |= {"listed", "called", "step"}
RESERVED |= {"options", "fingerprints", "interval", "view", "chance", "attention", "chosen on", "zero_shot_methods"}
"""Keys of results that no plug-in may take for its name."""


def protocols_named(names: str | Protocol | Iterable[str | Protocol]) -> list[Protocol]:
    """Build the protocols of some names or class paths, or of a single one, each once.

    Raises:
        ValueError: an unknown name, a path that leads to no protocol, a plug-in whose name is taken.

    """
    ours = {protocol.description.name: protocol for protocol in OURS}
    built: dict[str, Protocol] = {}
    for name in [names] if isinstance(names, str | Protocol) else names:
        protocol = _built(name, ours)
        known = built.setdefault(protocol.description.name, protocol)
        if type(known) is not type(protocol):
            both = f"{type(known).__qualname__} and {type(protocol).__qualname__}"
            raise ValueError(f"protocols: {both} are both called {protocol.description.name!r}; rename one")
    return list(built.values())


def with_classes(names: Iterable[str], file: Path | None) -> list[str | Protocol]:
    """Give a file of classes to those of some protocols that go by one.

    Raises:
        ValueError: a file that none of them wants, or none where one is wanted.

    """
    named = list(names)
    if file is not None and not any(name in BY_CLASSES for name in named):
        raise ValueError(f"--classes {file} goes with --protocols {' or '.join(BY_CLASSES)}, got {' '.join(named)}")
    if file is None and "zero_shot" in named:
        raise ValueError("--protocols zero_shot wants what is known of the classes: --classes FILE")
    return [BY_CLASSES[name](file) if name in BY_CLASSES else name for name in named]


def of_two_encoders(protocols: Sequence[Protocol]) -> Retrieval | None:
    """Return the protocol that looks at two encoders at once, if it is among these.

    Raises:
        ValueError: it is, and not alone.

    """
    found = next((one for one in protocols if isinstance(one, Retrieval)), None)
    if found is not None and len(protocols) > 1:
        raise ValueError("retrieval looks at two encoders, the other protocols at one network; probe them separately")
    return found


def in_row_order(protocols: Iterable[Protocol]) -> list[Protocol]:
    """Sort protocols as a row has their scores: this project's, and then a user's own as they come."""
    places = {name: place for place, name in enumerate(EVERY)}
    return sorted(protocols, key=lambda protocol: places.get(protocol.description.name, len(EVERY)))


def descriptions(described: Mapping[str, Mapping[str, Any]] | None = None) -> tuple[Description, ...]:
    """Return what this project's protocols say of themselves, and then what is kept of a user's own in a result."""
    own = tuple(Description.from_json(plain) for plain in (described or {}).values())
    return tuple(protocol.description for protocol in OURS) + own


def plugins_described(protocols: Sequence[Protocol]) -> dict[str, dict[str, Any]]:
    """Return what is to be kept beside a result: the descriptions of protocols that are not this project's own."""
    return {p.description.name: p.description.to_json() for p in protocols if type(p) not in OURS}


def with_sources(names: Iterable[str]) -> list[str]:
    """Return names, a class path with a hash of its source beside it, so that a changed plug-in is known as another."""
    return [name if name in EVERY else f"{name} {_source_hash(name)}" for name in names]


def _source_hash(path: str) -> str:
    (protocol,) = protocols_named([path])
    return blake2b(Path(inspect.getfile(type(protocol))).read_bytes(), digest_size=8).hexdigest()


def _built(name: str | Protocol, ours: Mapping[str, type[Protocol]]) -> Protocol:
    if isinstance(name, Protocol):
        return name
    kind = ours[name] if name in ours else _imported(name, list(ours))
    if not issubclass(kind, Protocol):
        raise ValueError(
            f"protocols got {name}, which is no pretext.evaluation.protocol.Protocol; derive the class from it"
        )
    protocol = kind()
    if kind not in OURS and (protocol.description.name in (*ours, *RESERVED)):
        raise ValueError(f"protocols: {name} is called {protocol.description.name!r}, which is taken; rename it")
    return protocol


def _imported(path: str, names: Sequence[str]) -> type:
    """Import a class by its path.

    Raises:
        ValueError: there is none.

    """
    module, _, name = path.rpartition(".")
    if not module:
        close = get_close_matches(path, names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? There are" if close else "there are"
        raise ValueError(f"no protocol {path!r}; {hint} {', '.join(names)}, or give the path of a class, as in my.Mine")
    try:
        kind = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"no protocol {path!r}: {error}; give the path of a class that Python can import") from error
    if not isinstance(kind, type):
        raise ValueError(f"no protocol {path!r}: {module} has no class {name!r}")
    return kind
