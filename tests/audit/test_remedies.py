"""What to change is told by what a task's options are now: nothing is recommended that is so already."""

from functools import partial

import pytest
from clips import TinyVideo, tiny_multimodal
from nets import TinyNet

import pretext
from pretext.audit.controls import CONTROLS
from pretext.ops.negatives import Negatives
from pretext.ops.tile_cut import TileCut

ADVICE = {control.name: control for control in CONTROLS}
MOVING = partial(pretext.Jigsaw, grid=2, permutations=6)
PLACED = pretext.RelativePosition


@pytest.mark.parametrize(
    ("task", "control", "said", "unsaid"),
    [
        (partial(MOVING, cut=TileCut(standardise=False)), "moments", "standardise: per_channel, now False", "already"),
        (MOVING, "moments", "over all channels together, and keep their hue: set cut.standardise: per_channel", "give"),
        (
            partial(MOVING, cut=TileCut(extent=None)),
            "destroyed",
            "let the grid move (cut.extent [0.5, 0.75])",
            "alread",
        ),
        (
            MOVING,
            "destroyed",
            "moves already (cut.extent): let it move further (a smaller cut.extent, now [0.5",
            "(0.5",
        ),
        (MOVING, "borders", "raise cut.gap (now 0.25); raise cut.jitter (now 0.2)", "already"),
        (MOVING, "aberration", "cut.channel_jitter, now 0.03); see grey more often (cut.grey, now 0.3)", "already"),
        (partial(PLACED, normalise=False), "moments", "give tiles one mean and deviation (normalise)", "already"),
        (PLACED, "moments", "(normalise), over all channels together, and keep their hue: take colours away", "give"),
        (PLACED, "destroyed", "the grid moves already (extent)", "let the grid move"),
        (partial(PLACED, colour="keep"), "aberration", "drop colours (colour: drop)", "already"),
        (PLACED, "aberration", "colours are gone already (colour: drop)", "drop colours"),
        (pretext.Rotation, "moments", "jitter brightness, contrast and colours (Augment)", "already"),
        (pretext.SplitBrain, "aberration", "take colours away (Augment grey", "colour:"),
    ],
)
def test_of_pictures(task, control, said, unsaid):
    net = pretext.Split(TinyNet) if task is pretext.SplitBrain else TinyNet()
    advice = ADVICE[control].change(task(net))
    assert said in advice
    assert unsaid not in advice


def test_of_clips_and_of_adapters():
    still, alike = (pretext.OddOneOut(TinyVideo(), equalise=equalise) for equalise in (False, True))
    assert ADVICE["energy"].change(still) == "equalise the clips (equalise)"
    assert "equalised already" in ADVICE["energy"].change(alike)
    kinds = ("easy", "hard")
    easy, hard = (pretext.Alignment(tiny_multimodal(), frames=4, negatives=Negatives(kind)) for kind in kinds)
    assert "draw hard negatives (negatives.kinds, now easy)" in ADVICE["stillness"].change(easy)
    assert "negatives are hard already" in ADVICE["stillness"].change(hard)
    within = pretext.OnFrames(TinyVideo(), task=MOVING)
    assert "cut.standardise" in ADVICE["moments"].change(within)
