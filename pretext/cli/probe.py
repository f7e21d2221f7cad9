"""`pretext probe`: measure what every stage of a backbone learned."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from pretext.cli.devices import add_devices, crew_of
from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import ready
from pretext.core.files import whole
from pretext.core.runs import find
from pretext.evaluation.names import DEFAULT, DIMS, EVERY

if TYPE_CHECKING:
    from pretext.evaluation.ensembled import GeneratedViews


def main(args: list[str]) -> None:
    """Measure what every stage of a backbone learned. Options override: --data datamodules.X --data.root DIR."""
    name, rest = run_of(args)
    own, _ = _parser(main.__doc__).parse_known_args(rest)
    _check(name, own)
    own, options = _parser(main.__doc__).parse_known_args(ready(rest, None if name is None else find(name)))
    from rich.console import Console

    from pretext.evaluation.available import of_two_encoders, protocols_named, with_classes
    from pretext.evaluation.kept import file_of
    from pretext.evaluation.probe import ProbePlan, assist, probe_run
    from pretext.report.probe import plot, tables
    from pretext.training.encoders import encoders_of_open_clip, encoders_of_run
    from pretext.training.networks import from_pretrained, from_run
    from pretext.verbs.probing import check_own

    protocols = protocols_named(with_classes(own.protocols, own.classes))  # a mistake is told before all else
    if of_two_encoders(protocols) and name is not None:
        networks, probed, folder = encoders_of_run(name, options, own.classes)
    elif of_two_encoders(protocols):
        networks, probed, folder = encoders_of_open_clip(own.backbone, own.weights, options, own.classes)
    elif name is not None:
        networks, probed, folder = from_run(name, options, own.modality, own.dims)
    else:
        networks, probed, folder = from_pretrained(own.backbone, own.weights, options, own.crop, own.dims)
    run, folder = folder, own.out or folder
    plan = ProbePlan(protocols, own.views, own.dims, ensemble=_ensemble(own))
    check_own(probed.data, next(iter(networks.values())), plan)
    with crew_of(own, args, folder, lambda crew: assist(crew, lambda _: (networks, probed), plan)) as crew:
        result = probe_run(networks, probed, folder, shlex.join(["pretext", *args]), plan, crew, run)
    file = file_of(result, folder)
    with whole(file.with_suffix(".png")) as draft:
        plot(result).savefig(draft, dpi=150, format="png")
    Console().print(*(part for table in tables(result) for part in (table.rich(), "")))
    if skipped := getattr(probed.data, "skipped", {}):
        print(f"{len(skipped)} files could not be read, or only in part, such as {next(iter(skipped))}")
    page = "" if name is None else f"; a page: pretext report {folder}; side by side: pretext compare {folder} RUN"
    print(f"wrote {file} and {file.with_suffix('.png').name}{page}")


def _parser(about: str | None) -> Parser:
    parser = Parser("probe", "RUN | --backbone SPEC", about)
    parser.add_argument("--backbone", help="instead of a run: torchvision:NAME, timm:NAME or a class")
    parser.add_argument("--weights", help="file with that backbone's weights")
    parser.add_argument("--crop", type=int, help="centre of the canvas that it is shown (default: all of it)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: the run, or runs/probe/SPEC)")
    parser.add_argument("--modality", help="which network of a MultiModal backbone to probe (default: the first)")
    names = f"of {', '.join(EVERY)}, or a class of your own by its path (default {' '.join(DEFAULT)})"
    parser.add_argument("--protocols", nargs="+", metavar="NAME", default=DEFAULT, help=names)
    classes = "CSV of the classes; zero_shot: class, split (seen or unseen), attributes; retrieval: class, prompt"
    parser.add_argument("--classes", type=Path, metavar="FILE", help=classes)
    views = "augmented views of each training image to add (default 0)"
    parser.add_argument("--views", type=int, default=0, help=views)
    parser.add_argument("--generator", metavar="RUN", help="average test pictures with views that a VAE's run draws")
    parser.add_argument("--generated", type=int, default=4, help="how many such views (default 4)")
    parser.add_argument("--std", type=float, default=0.2, help="their step in latent space (default 0.2)")
    parser.add_argument("--dims", type=int, default=DIMS, help=f"values that a stage is pooled to (default {DIMS})")
    add_devices(parser)
    return parser


def _ensemble(own: Namespace) -> GeneratedViews | None:
    """Find the generator of views at test time, if any."""
    if own.generator is None:
        return None
    from pretext.evaluation.ensembled import GeneratedViews
    from pretext.training.drawing import TrainedGenerator

    return GeneratedViews(TrainedGenerator(own.generator), own.generated, own.std, str(own.generator))


def _check(run: str | None, own: Namespace) -> None:
    if (run is None) == (own.backbone is None):
        raise ValueError("give either a run, before any option, or --backbone SPEC")
    if run is not None and (own.weights or own.crop):
        raise ValueError("--weights and --crop go with --backbone; a run has its own")
    if run is None and own.modality:
        raise ValueError("--modality goes with a run; a --backbone is one network")
    if own.classes is not None and not own.classes.is_file():
        raise ValueError(f"--classes: there is no file {own.classes}")
    if own.dims < 1 or own.views < 0:
        raise ValueError(f"--dims is at least 1 and --views at least 0, got {own.dims} and {own.views}")
