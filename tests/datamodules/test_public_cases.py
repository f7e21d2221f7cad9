"""Inputs from public bug reports, each with the right value, as scripts beside the repository; skipped without them.

All run in this one process. Where a name that a script uses has moved, the name is put right here, never the value.
"""

import io
import os
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from grouped import grouped

import datamodules

CASES = Path(os.environ.get("PRETEXT_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
SLOW = {"accumulate_more_than_an_epoch", "cli_numbers_anchors_spaces"}  # they train
NEW_NAMES = {
    "from datamodules import Clips\n": "Clips = flat_clips\n",
    "from datamodules.decode import": "from datamodules.images.decode import",
    "from datamodules.video import read_sound": "from datamodules.media.sound import read_sound",
    "from datamodules.video import Video": "from datamodules.media.video import Video",
    "from datamodules.audio import": "from datamodules.media.sound import",
    "from pretext.backbones.foreign import load_weights": "from pretext.backbones.pretrained.match import load_weights",
    "from datamodules import Photos": "from datamodules import Photos, Reading, Splitting",
    "max_bad=0.05, test=0, val=0, workers=1": "reading=Reading(1, max_bad=0.05), split=Splitting(test=0, val=0)",
    'model = made.get("model", {})': 'model = made.get("model", {}); model |= model.get("optim", {})',
}


def flat_clips(**options):
    return datamodules.Clips(**grouped(datamodules.Clips, **options))


def case(path):
    return pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])


if not CASES.is_dir():
    pytest.skip(f"no folder {CASES}", allow_module_level=True)


@pytest.mark.filterwarnings("ignore")  # as a user runs it
@pytest.mark.parametrize("path", [case(path) for path in sorted(CASES.glob("*.py"))])
def test_the_right_value_comes_out(path):
    source = path.read_text()
    for old, new in NEW_NAMES.items():
        source = source.replace(old, new)
    space = {"__file__": str(path), "__name__": "case", "flat_clips": flat_clips}
    said = io.StringIO()
    try:
        with redirect_stdout(said), pytest.raises(SystemExit) as end:
            exec(compile(source, path, "exec"), space)
    finally:
        shutil.rmtree(space["TMP"], ignore_errors=True)
    assert end.value.code == 0, said.getvalue()
