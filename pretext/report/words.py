"""Numbers and times in words, alike on every face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pretext.evaluation.statistics.correlation import LEAST, Correlation


def duration(seconds: float) -> str:
    """Write a time."""
    if seconds < 3600:
        return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))


def figure(value: float, unit: str = "%") -> str:
    """Write a share in per cent, or another number with four digits."""
    return f"{100 * value:.1f}\u00a0%" if unit == "%" else f"{value:.4g}"


def rho(rank: Correlation, what: str) -> str:
    """Write a rank correlation of `what` ("entries"), or say why there is none."""
    if math.isnan(rank.rho):
        few, same = f"{rank.n} {what} have both: too few", f"one side is the same for all {rank.n} {what}"
        return f"not computed ({few if rank.n < LEAST else same})"
    bounds = "" if math.isnan(rank.low) else f", 95 % interval {rank.low:.2f} to {rank.high:.2f}"
    return f"{rank.rho:.2f}{bounds}, p = {rank.p:.2g}, n = {rank.n}"


def date(environment: Mapping[str, Any]) -> str:
    """Write when a result was made, to the minute; "" where that was not recorded."""
    return str(environment.get("date", ""))[:16].replace("T", " ")


def protocol_facts(data: Mapping[str, Any] | None, protocol: Mapping[str, Any] | None) -> dict[str, Any]:
    """List on what data was measured, and how."""
    return {**{f"data: {key}": value for key, value in (data or {}).items()}, **(protocol or {})}
