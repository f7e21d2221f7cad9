"""`pretext export`: write the plain backbone of a run to a file."""

from __future__ import annotations

from pathlib import Path

from pretext.cli.parser import Parser, needed, run_of
from pretext.core.runs import LAST, find


def main(args: list[str]) -> None:
    """Write the plain backbone of a run to a file."""
    name, rest = run_of(args)
    parser = Parser("export", "RUN", main.__doc__)
    parser.add_argument("--to", choices=("torchvision", "safetensors"), required=True)
    parser.add_argument("--out", type=Path, help="the file (default: backbone.pth or backbone.safetensors in the run)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone to write")
    own = parser.parse_args(rest)
    run = find(needed(name))
    if not (run / LAST).is_file():
        raise FileNotFoundError(f"no checkpoint {run / LAST}; train it first with `pretext fit {run}`")
    from pretext.backbones.export import export as write
    from pretext.training.run import load

    suffix = {"torchvision": ".pth", "safetensors": ".safetensors"}[own.to]
    stem = f"backbone-{own.modality}" if own.modality else "backbone"
    print(write(load(run).backbone, own.out or run / f"{stem}{suffix}", own.to, own.modality))
