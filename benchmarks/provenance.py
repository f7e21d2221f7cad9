"""Under which circumstances a benchmark ran: its command, the commit, the versions."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def commit() -> str:
    """Name the commit, where the repository came with its history."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def found(package: str) -> str:
    """Name the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def command() -> str:
    """The command line as it was given."""
    return shlex.join(["python", *sys.argv])
