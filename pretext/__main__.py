"""The command line: every verb in one help text."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from pretext.cli import VERBS as VERBS

HELP = """\
pretext: self-supervised pretext tasks on one shared backbone

usage: pretext VERB ...

  fit       train:            pretext fit -c CONFIG [--data.root DIR ...]; continue: pretext fit RUN
  validate  pretext scores on the validation images:  pretext validate RUN
  test      pretext scores on the test images:        pretext test RUN
  predict   pooled features of the test images to a file:  pretext predict RUN
  show      draw what the tasks ask:  pretext show RUN | -c CONFIG [--out puzzles.png]
  probe     measure what every stage learned:  pretext probe RUN [--data datamodules.ImageFolder --data.root DIR]
            of another project's weights:  pretext probe --backbone timm:resnet18 --weights FILE --data ...
  compare   probed runs side by side:  pretext compare RUN RUN ... [--out FILE.html]
  bench     train, probe and rank what a YAML names; go on after a kill; start it twice to share the work:
            pretext bench SUITE.yaml
  evolve    find the weights of a config's tasks by search, without labels; resumes; start it N times for N workers:
            pretext evolve -c CONFIG [--searcher cmaes --candidates 40 --steps 100 --storage URL --study NAME ...]
  transfer  which source helps which target; go on after a kill; start it twice to share the work:
            pretext transfer SUITE.yaml
            which sources to train on a budget:  pretext transfer policy MATRIX.csv --budget 3 [--costs FILE ...]
            predict what nobody measured:  pretext transfer complete MATRIX.csv [--method low_rank --features FILE]
            what is true where raters disagree, or which items they prefer:  pretext transfer votes FILE.csv
            networks of tasks without labels:  pretext transfer predict transfer/photos [--study 3 4 5]
  nas       architectures without labels:  pretext nas sample -c CONFIG compares many by tasks and labels;
            pretext nas search -c CONFIG finds one (DARTS);  pretext nas show GENOTYPE.json | NAME draws one
  audit     can tasks be answered without seeing?  pretext audit -c CONFIG [--data.root DIR --tasks NAME --budget 200]
  reproduce published numbers, ours beside them:  pretext reproduce rotnet|simclr --data.root DIR [--scale 0.01]
  report    one self-contained HTML page of a run:  pretext report RUN
  export    the plain backbone:  pretext export RUN --to torchvision|safetensors [--modality rgb]
  cluster   classes without labels, to learn to learn from:  pretext cluster RUN [--clusters 50 --out FILE]
  runs      list the runs that there are:  pretext runs [FOLDER]
  configs   list the configs that come with it, or copy one:  pretext configs [NAME --copy FILE]
  tasks     list the tasks:  pretext tasks [NAME]
  data      list the data modules:  pretext data [NAME]
  backbones list the backbones:  pretext backbones [NAME]
  completion  complete words in a shell:  eval "$(pretext completion bash)"

A CONFIG is a file, or the name of one that comes with it, such as image/rotation.
A RUN is the folder that `fit` made (config.yaml and checkpoints), by default runs/<config's name>/<number>.
`pretext VERB --help` lists a verb's options; PRETEXT_TRACEBACK=1 shows where an error came from.
"""


GOES_ON = {  # what Ctrl-C leaves
    "fit": "no step was finished",
    "probe": "what was embedded is kept: the same command goes on",
    "bench": "finished cells are kept: the same command goes on",
    "evolve": "finished candidates are kept: the same command goes on",
    "transfer": "finished cells are kept: the same command goes on",
    "nas": "what is finished is kept: the same command goes on",
    "audit": "finished cells are kept: the same command goes on",
    "reproduce": "finished parts are kept: the same command goes on",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code: 0 done, 1 an error told in one line; a signal raises SystemExit."""
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0 if args else 1
    if args[0] == "--version":
        from pretext import __version__

        print(__version__)
        return 0
    sys.path.append(str(Path.cwd()))  # a plug-in beside the config is found, as with `python -m pretext`
    from pretext.core.quiet import ignore_advice
    from pretext.core.stop import STOP
    from pretext.core.threads import told_in_a_line

    ignore_advice()
    try:
        if args[0] not in VERBS:
            raise ValueError(f"unknown verb {args[0]!r}{_meant(args[0])}; `pretext --help` lists them")
        with STOP.listen(), told_in_a_line():
            import_module(f"pretext.cli.{VERBS[args[0]]}").main(args)
    except KeyboardInterrupt:
        return _interrupted(args[0])
    except SystemExit as stop:
        # Lightning makes the one of the other; training that was stopped has said where it goes on.
        if isinstance(stop.__context__, KeyboardInterrupt) and args[0] != "fit":
            return _interrupted(args[0])
        raise
    except Exception as error:
        from pretext.cli.parser import hint, is_users, one_line

        if os.environ.get("PRETEXT_TRACEBACK") or not is_users(error):
            raise
        told = one_line(error).removeprefix(f"{args[0]}: ")
        print(f"pretext {args[0]}: {told}{hint(error)}", file=sys.stderr)
        return STOP.code or 1
    return 0


def _interrupted(verb: str) -> int:
    print(f"pretext {verb}: interrupted; {GOES_ON.get(verb, 'nothing was written')}", file=sys.stderr)
    return 130


def _meant(verb: str) -> str:
    like = get_close_matches(verb, VERBS, n=1)
    return f", did you mean {like[0]}" if like else ""


if __name__ == "__main__":
    sys.exit(main())
