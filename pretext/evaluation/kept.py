"""The results of probes in a folder: one for each set of data, protocols and modality. None takes another's place.

The first is `probe.json`. Others have names of their own, such as `probe-Clips-rgb-5a1f09c2.json`. The same probe again
replaces its own result alone.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock

from pretext.core.files import write_json
from pretext.evaluation.results import ProbeResult

FIRST = "probe.json"


def keep(result: ProbeResult, folder: Path) -> Path:
    """Write a result into a folder and return its file; two processes that do so at once do not lose one."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".probe.lock"):
        return write_json(file_of(result, folder), result.to_json())


def file_of(result: ProbeResult, folder: Path) -> Path:
    """Say where a result stands in a folder, or would."""
    first = folder / FIRST
    return first if not first.exists() or same(result, read(first)) else folder / _name(result)


def kept(folder: Path) -> dict[Path, ProbeResult]:
    """Read all results of a folder, by their files, the first one first.

    Raises:
        ValueError: one cannot be read; the message names it.

    """
    files = [*folder.glob(FIRST), *sorted(folder.glob("probe-*.json"))]
    return {file: read(file) for file in files}


def read(file: Path) -> ProbeResult:
    """Read a result.

    Raises:
        ValueError: it is not complete, or none; the message names the file.

    """
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"probe: {file} is not complete JSON ({error}); delete it or make it again") from error
    if not isinstance(plain, dict):
        raise ValueError(f"probe: {file} holds a {type(plain).__name__}, not a dict; delete it or make it again")
    return ProbeResult.from_json(plain)


def same(one: ProbeResult, other: ProbeResult) -> bool:
    """Tell whether two results are of the same items, protocols and modality; early results know no fingerprints."""
    prints = one.fingerprints == other.fingerprints or None in (one.fingerprints, other.fingerprints)
    return prints and _said(one.data, one.protocol) == _said(other.data, other.protocol)


def _said(*facts: object) -> str:
    return json.dumps(facts, sort_keys=True)


def _name(result: ProbeResult) -> str:
    data = result.data or {}
    key = blake2b(_said(data, result.protocol, result.fingerprints).encode(), digest_size=4).hexdigest()
    words = (re.sub(r"\W", "-", str(data[name])) for name in ("class", "modality") if name in data)
    return "-".join(("probe", *words, key)) + ".json"
