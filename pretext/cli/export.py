"""`pretext export`: write the plain backbone of a run to a file."""

from __future__ import annotations

from pathlib import Path

from pretext.backbones.export import export as write
from pretext.cli.parser import Parser, needed, run_of
from pretext.training.run import find, load


def main(args: list[str]) -> None:
    """Write the plain backbone of a run to a file."""
    name, rest = run_of(args)
    parser = Parser("export", "RUN", main.__doc__)
    parser.add_argument("--to", choices=("torchvision", "safetensors"), required=True)
    parser.add_argument("--out", type=Path, help="the file (default: backbone.pth or backbone.safetensors in the run)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone to write")
    own = parser.parse_args(rest)
    run = find(needed(name))
    suffix = {"torchvision": ".pth", "safetensors": ".safetensors"}[own.to]
    stem = f"backbone-{own.modality}" if own.modality else "backbone"
    print(write(load(run).backbone, own.out or run / f"{stem}{suffix}", own.to, own.modality))
