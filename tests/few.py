"""`benchmarks/gpu.py --dry`, cut down to a few questions of some parts: python tests/few.py FEW OPTION ...

FEW is JSON, `{"part": ["question", ...], ...}`. All public names are imported before. Of `resume`, which starts five
processes, one step of the training that it kills is asked in their place.
"""

import gc
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

gc.disable()  # nothing that is imported is garbage, and looking for some takes seconds
sys.path[0] = str(Path(__file__).parents[1] / "benchmarks")  # not this folder, whose `datamodules` holds tests

import gpu  # noqa: E402
from gpu_parts import resume  # noqa: E402
from schedule import Question  # noqa: E402

import datamodules  # noqa: E402
import pretext  # noqa: E402


def step(setting, clock, before):
    """Train a step of what `resume` kills."""
    config = resume.config(setting, resume.EXACT)
    config["trainer"] |= {"max_steps": 1, "limit_val_batches": 0}
    return {"step": setting.fit("resume", config, setting.out / "runs" / "resume").trainer.global_step}


def cut(maker, few, setting):
    """Make a part that asks these questions alone."""
    part = maker.part(setting)
    all_of_it = [Question("a step", partial(step, setting))] if maker is resume else part.questions()
    asked = [question for question in all_of_it if question.name in few.get(part.name, ())]
    return part._replace(questions=lambda: asked)


def main(few, *options):
    """Ask these and return the exit code of `gpu.py`."""
    for package in (pretext, datamodules):
        for name in package.__all__:
            getattr(package, name)
    gpu.MAKERS = [SimpleNamespace(part=partial(cut, maker, few)) for maker in gpu.MAKERS]
    return gpu.main(["--dry", "--only", *few, *options])


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), *sys.argv[2:]))
