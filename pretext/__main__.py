"""The command line: every verb in one help text."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

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
  audit     can tasks be answered without seeing?  pretext audit -c CONFIG [--data.root DIR --tasks NAME --budget 200]
  reproduce published numbers, ours beside them:  pretext reproduce rotnet|simclr --data.root DIR [--scale 0.01]
  report    one self-contained HTML page of a run:  pretext report RUN
  export    the plain backbone:  pretext export RUN --to torchvision|safetensors [--modality rgb]

A RUN is the folder that `fit` made (config.yaml and checkpoints), by default runs/<config's name>/<number>.
`pretext VERB --help` lists a verb's options; PRETEXT_TRACEBACK=1 shows where an error came from.
"""

VERBS = {  # verb -> its file in `pretext.cli`, imported when it is asked for, so that `pretext --help` answers at once
    **dict.fromkeys(("fit", "validate", "test", "predict"), "fit"),
    **{
        verb: verb for verb in ("show", "probe", "compare", "bench", "evolve", "audit", "reproduce", "report", "export")
    },
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
    # Lightning 2.6 asks torch's pytree in a way that torch 2.14 calls deprecated; a user can do nothing about it.
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec", FutureWarning)
    sys.path.append(str(Path.cwd()))  # a plug-in beside the config is found, as with `python -m pretext`
    from pretext.core.stop import STOP

    try:
        if args[0] not in VERBS:
            raise ValueError(f"unknown verb {args[0]!r}; `pretext --help` lists them")
        with STOP.listen():
            import_module(f"pretext.cli.{VERBS[args[0]]}").main(args)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from pretext.cli.parser import hint, is_users, one_line

        if os.environ.get("PRETEXT_TRACEBACK") or not is_users(error):
            raise
        print(f"pretext {args[0]}: {one_line(error)}{hint(error)}", file=sys.stderr)
        return STOP.code or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
