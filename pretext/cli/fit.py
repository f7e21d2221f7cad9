"""`pretext fit`: train, validate, test or predict."""

from __future__ import annotations

from pretext.training.cli import PretextCLI


def main(args: list[str]) -> None:
    """Train, validate, test or predict."""
    PretextCLI(args)
