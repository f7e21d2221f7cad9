"""The results of probes in a folder: one for each set of data, protocols and modality. None takes another's place.

The first is `probe.json`. Others have names of their own, such as `probe-Clips-rgb-5a1f09c2.json`. The same probe again
replaces its own result alone. A result knows at which step of its run it was measured, since a run may go on later.
"""

from __future__ import annotations

import json
import re
import shlex
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor, nn, uint8

from pretext.core.checkpoint_file import read_checkpoint
from pretext.core.files import write_json
from pretext.core.runs import LAST
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


def comparable(one: ProbeResult, other: ProbeResult) -> bool:
    """Tell whether two results were measured alike on the same items; early results do not say of which items.

    Files count by their names where both say so, since a copy of a folder has other dates.
    """
    if _said(one.data, one.protocol) != _said(other.data, other.protocol):
        return False
    said = [both for both in ((one.listed, other.listed), (one.fingerprints, other.fingerprints)) if None not in both]
    return not said or said[0][0] == said[0][1]


def touched(one: ProbeResult, other: ProbeResult) -> bool:
    """Tell whether two comparable results are of files with the same names, but of other sizes or dates."""
    return None not in (one.listed, other.listed) and one.fingerprints != other.fingerprints


def last_step(run: Path) -> int | None:
    """Return the step of a run's last checkpoint; None where there is none, or none that can be read."""
    checkpoint = _last(run)
    return None if checkpoint is None else int(checkpoint["global_step"])


def step_of(network: nn.Module, run: Path) -> int | None:
    """Return the step of a run's last checkpoint if it holds a network's weights; None where it does not.

    It may be of a step that came after the network was loaded, or the network of no run at all.
    """
    if (checkpoint := _last(run)) is None:
        return None
    there = {_hash(part) for part in checkpoint.get("state_dict", {}).values() if isinstance(part, Tensor)}
    return int(checkpoint["global_step"]) if all(_hash(part) in there for part in network.parameters()) else None


def overtaken(result: ProbeResult, run: Path) -> str:
    """Say that a run is at another step than it was probed at; "" where it is not, or where nothing is known of it."""
    last = None if result.step is None else last_step(run)
    if last is None or last == result.step:
        return ""
    again = result.command or ""
    again = again if again.startswith("pretext probe ") else f"pretext probe {shlex.quote(str(run))}"
    return f"probed at step {result.step:,}; the run is at step {last:,}; again: {again}"


def _last(run: Path) -> dict[str, Any] | None:
    """Read a run's last checkpoint, of which tensors stay on the disk until they are looked at."""
    try:
        checkpoint = read_checkpoint(run / LAST, mmap=True)
    except (OSError, ValueError):
        return None
    return checkpoint if "global_step" in checkpoint else None


def _hash(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(uint8).numpy().data
    return blake2b(content, digest_size=16).hexdigest()


def _said(*facts: object) -> str:
    return json.dumps(facts, sort_keys=True)


def _name(result: ProbeResult) -> str:
    data = result.data or {}
    key = blake2b(_said(data, result.protocol, result.fingerprints).encode(), digest_size=4).hexdigest()
    words = (re.sub(r"\W", "-", str(data[name])) for name in ("class", "modality") if name in data)
    return "-".join(("probe", *words, key)) + ".json"
