"""Words for the candidates of a search; the sentences about them stand in `templates/search.html`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pretext.search.analysis import probe_share
from pretext.search.space import EQUAL, ZERO
from pretext.search.study import Candidate

NETWORK = {ZERO: "all zero (a random network)", EQUAL: "all equal"}
STATES = ("done", "running", "waiting", "pruned", "failed")


def number(value: float) -> str:
    """Write a number."""
    return f"{value:.6g}" if value == int(value) else f"{value:#.4g}"


def percent(probe: dict[str, float] | None) -> str:
    """Write a probe's accuracy in per cent with its interval; a dash where it was not measured."""
    accuracy, low, high = (100 * probe_share(probe, key) for key in ("accuracy", "low", "high"))
    interval = f" ({low:.1f} to {high:.1f})" if low <= high else ""
    return f"{accuracy:.1f} %{interval}" if math.isfinite(accuracy) else "-"


def label(candidate: Candidate) -> str:
    """Name a candidate by its control or by its number."""
    return candidate.control if candidate.control is not None else f"candidate {candidate.index}"


def described(candidate: Candidate, alone: str = "") -> str:
    """Name a candidate in a sentence, the control without any training as what it is, `alone` before a single task."""
    return NETWORK.get(candidate.control or "", alone + label(candidate))


def counted(candidates: Sequence[Candidate]) -> str:
    """Say how many candidates are in which state: "38 done, 1 failed"."""
    counts = Counter[str](candidate.state for candidate in candidates)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none"
