"""`pretext nas`: architectures without labels. `sample` compares many, `search` finds one, `show` draws one."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pretext.cli.fit import refuse_nothing
from pretext.cli.fit_help import help_of, options_text
from pretext.cli.parser import Parser
from pretext.cli.preflight import ready
from pretext.cli.words import parted
from pretext.core.catalogue import PACKAGE, described
from pretext.core.configs import title_of
from pretext.core.runs import find

WIDTH = 48  # of a network of a genotype that was not published
HELP = """\
usage: pretext nas sample -c CONFIG | --results DIR   compare drawn architectures by tasks and by labels
       pretext nas search -c CONFIG | RUN             find cells by gradient (DARTS), or go on with a search
       pretext nas show GENOTYPE.json | NAME          draw cells, and tell what a network of them costs

`pretext nas sample --help` lists its options, `pretext nas search --help` those of a search."""


def main(args: list[str]) -> None:
    """Run `nas sample`, `nas search` or `nas show`."""
    verbs = {"sample": _sample, "search": _search, "show": _show}
    if len(args) > 1 and args[1] in ("-h", "--help"):
        print(HELP)
    elif len(args) < 2 or args[1] not in verbs:
        raise ValueError(f"give one of {', '.join(verbs)}, such as pretext nas sample -c CONFIG")
    else:
        verbs[args[1]](args)


def _sample(args: list[str]) -> None:
    """Train drawn architectures on tasks and on labels, and compare how these rank them."""
    parser = Parser("nas sample", "-c CONFIG | --results DIR", _sample.__doc__)
    parser.add_argument("-c", "--config", help="a training config with a section `nas`")
    parser.add_argument("--results", type=Path, help="a folder of UnNAS' own results, TASK/RUN/sweep_summary.json")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/nas/<the study's name>)")
    settings = described(PACKAGE / "search" / "nas" / "settings.py", "Sampling")
    parser.epilog = (
        f"Options of the comparison, also of the config's section `nas`:\n\n{options_text(settings.options)}"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    own, options = parser.parse_known_args(args[2:])
    if (own.config is None) == (own.results is None):
        raise ValueError("give a training config, pretext nas sample -c CONFIG, or a folder with --results DIR")
    own, options = parser.parse_known_args(ready(args[2:]))
    from pretext.jobs.storage import without_password
    from pretext.report.nas import write_comparison
    from pretext.search.nas.settings import read_comparison
    from pretext.search.nas.worker import sample
    from pretext.training.callbacks.record import environment
    from pretext.training.run import read

    command = shlex.join(["pretext", *map(without_password, args)])
    if own.results is not None:
        print(f"look: {_published(own.results, own.out, options, command)}")
        return
    comparison = read_comparison(read(own.config), options)
    name = comparison.settings.study or title_of(Path(own.config)).name
    folder = own.out or Path("runs") / "nas" / name
    print(f"look: {sample(comparison, name, folder, command, environment(), write_comparison)}")


def _search(args: list[str]) -> None:
    """Search cells, or go on with a search: `pretext fit` of a `Bilevel`; then write what was found into the run."""
    words = args[2:]
    if any(option in ("-h", "--help") and value != "all" for option, value in parted(words)):
        print(help_of("nas search"))
        return
    refuse_nothing("nas search", words)
    ready(words, None if words[0].startswith("-") else find(words[0]))
    from pretext.report.found import write_found
    from pretext.training.bilevel import Bilevel
    from pretext.training.cli import PretextCLI
    from pretext.training.found import found
    from pretext.training.logs import read_logs

    class SearchCLI(PretextCLI):
        """Refuses what is no search before it is trained."""

        def before_fit(self) -> None:
            if not isinstance(self.model, Bilevel):
                name = type(self.model).__name__
                raise ValueError(f"this trains a {name}, which is no search of cells; pretext fit does that")
            if self.trainer.gradient_clip_val:
                raise ValueError("a search clips the gradient of its weights itself: --model.clip in its place")

    cli = SearchCLI(["fit", *args[2:]], said=args)
    if cli.trainer.is_global_zero:
        begun = read_logs(cli.run_dir).environment.get("command", shlex.join(["pretext", *args]))
        for file in write_found(found(cli.run_dir), begun):
            print(file)


def _show(args: list[str]) -> None:
    """Draw the cells of a genotype, and tell parameters and multiply-adds of a network of them."""
    parser = Parser("nas show", "GENOTYPE.json | NAME", _show.__doc__)
    parser.add_argument("genotype", help="a file by `pretext nas search`, or the name of a published one")
    parser.add_argument("--width", type=int, help="channels of a node (default: as published, or 48)")
    parser.add_argument("--cells", type=int, default=14)
    parser.add_argument("--stem", choices=["imagenet", "small"], default="imagenet")
    parser.add_argument("--side", type=int, default=224, help="of the pictures, pixels")
    parser.add_argument("--classes", type=int, default=1000, help="of the classifier, which counts too")
    parser.add_argument("--out", type=Path, help="the page (default: <genotype's name>.html)")
    own = parser.parse_args(args[2:])
    from rich.console import Console

    from pretext.backbones.cells import Cells
    from pretext.backbones.cost import cost
    from pretext.backbones.genotype import genotype_of, published
    from pretext.report.found import edges, write_genotype

    known = published().get(own.genotype)
    genotype = genotype_of(own.genotype)
    width = own.width or (known.width if known else WIDTH)
    network = Cells(genotype.plain(), width, own.cells, own.stem)  # type: ignore[arg-type]  # pairs as lists
    price = cost(network, own.side, own.classes)
    facts = {"width": width, "cells": own.cells, "stem": own.stem, "pictures": f"{own.side} px", "classes": own.classes}
    name = Path(own.genotype).stem
    Console().print(edges(genotype).rich())
    size = f"{own.side} px, {own.classes} classes"
    print(f"{price.parameters:,} parameters, {price.multiply_adds:,} multiply-adds ({size})")
    page = write_genotype(genotype, own.out or Path(f"{name}.html"), name, price, size, facts)
    print(f"look: {page}")


def _published(folder: Path, out: Path | None, options: list[str], command: str) -> Path:
    """Write the page of results that UnNAS' authors keep."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--reference")
    own, rest = parser.parse_known_args(options)
    if rest:
        raise ValueError(f"nas sample --results takes --reference and --out besides, got {' '.join(rest)}")
    from pretext.report.nas import write_comparison
    from pretext.search.nas.published import read_summaries
    from pretext.search.nas.worker import PAGE

    results = read_summaries(folder, own.reference)
    home = out or Path("runs") / "nas" / folder.resolve().name
    home.mkdir(parents=True, exist_ok=True)
    write_comparison(results, home / PAGE, folder.resolve().name, {"command": command, "results": str(folder)})
    return home / PAGE
