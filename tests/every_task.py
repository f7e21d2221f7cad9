"""Every task of this project with a tiny backbone and a batch of 4, for laws that hold for all of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from captions import captioned, picture_and_text
from clips import TinySound, TinyVideo, av_batch, moving, tiny_multimodal
from nets import TinyNet

import pretext
from pretext.core.rng import rng
from pretext.core.types import Backbone, TaskFactory
from pretext.nn.alignment_readouts import Contrastive
from pretext.nn.colour_targets import ColourValues
from pretext.nn.embedding_losses import InfoNCE
from pretext.nn.split_targets import SplitValues
from pretext.nn.teachers import Momentum

N = 4


class Case(NamedTuple):
    """A task, what it is built for, and what it is posed from."""

    factory: TaskFactory
    backbone: Callable[[], Backbone]
    x: Any


def images(side=24, key=0):
    """Smooth colours; half of the items are too grey for `Colorization`, so that the second of two ranks has none."""
    x = torch.rand(N, 3, 4, 4, generator=rng("cpu", "every task", key))
    x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear")
    x[N // 2 :] = x[N // 2 :].mean(1, keepdim=True) + 0.02 * x[N // 2 :]
    return x


def clips(window=12):
    x = moving(N, window, 12)
    x[N // 2 :] *= 0.5  # of another variance
    return x


def several(window=12):
    x = av_batch(N, window, 12)
    flow = x["rgb"][:, :2].roll(1, 2) - 0.3
    return {**x, "flow": flow, "grey": x["rgb"].mean(1, keepdim=True)}


def cases():
    """Name every task, with each of its ways to grade."""
    net, video, both = partial(TinyNet, norm=False), TinyVideo, partial(tiny_multimodal, flow=True)
    of_images = {
        "rotation": pretext.Rotation,
        "jigsaw": partial(pretext.Jigsaw, grid=2, permutations=6, width=8, hidden=16),
        "position": partial(pretext.RelativePosition, hidden=16),
        "counting": partial(pretext.Counting, length=20, hidden=16, margin=1.0),
        "contrast": partial(pretext.Contrast, width=8, outputs=8),
        "colorization": pretext.Colorization,
        "colours as values": partial(pretext.Colorization, target=ColourValues()),
        "inpainting": partial(pretext.Inpainting, ups=1, width=8, channels=8),
        "adversarial inpainting": partial(pretext.Inpainting, ups=1, width=8, channels=8, adversarial=0.1),
        "autoencoding": partial(pretext.Autoencoding, width=8),
        "denoising": partial(pretext.Denoising, width=8),
        "vae": partial(pretext.VAE, latents=4, size=24, width=8),
        "edges": partial(pretext.Edges, width=8),
        "keypoints": partial(pretext.Keypoints, width=8),
        "super-resolution": partial(pretext.SuperResolution, width=4),
        "adversarial l1 super-resolution": partial(pretext.SuperResolution, width=4, pixel="l1", adversarial=0.1),
    }
    of_clips = {
        "arrow of time": partial(pretext.ArrowOfTime, frames=4),
        "clip order": partial(pretext.ClipOrder, pieces=2, frames=3, gap=1),
        "odd one out": pretext.OddOneOut,
        "shuffle and learn": partial(pretext.ShuffleAndLearn, span=(2, 4), unlike=0.0),
        "future": partial(pretext.FuturePrediction, frames=3, future=2, width=8),
        "reconstruction": partial(pretext.Reconstruction, frames=3, width=8),
        "frames": partial(pretext.OnFrames, task=partial(pretext.Contrast, width=8, outputs=8)),
    }
    of_several = {
        "alignment": partial(pretext.Alignment, frames=4),
        "contrastive alignment": partial(pretext.Alignment, frames=4, readout=Contrastive()),
        "embed": partial(pretext.Embed, frames=4, outputs=8),
        "hardest info-nce": partial(pretext.Embed, frames=4, outputs=8, loss=InfoNCE(), hardest=0),
        "distillation": partial(pretext.Distillation, frames=4),
        "taught teacher": partial(pretext.Distillation, frames=4, stages=["pooled", "conv1"], detach=False),
        "momentum teacher": partial(pretext.Distillation, frames=4, copy=Momentum),
        "across modalities": partial(pretext.CrossModalPrediction, source="rgb", target="flow", frames=3, width=8),
        "on one": partial(pretext.On, modality="rgb", task=partial(pretext.Reconstruction, frames=3, width=8)),
    }
    halves = {"split brain": pretext.SplitBrain, "split values": partial(pretext.SplitBrain, target=SplitValues())}
    return {
        **{name: Case(task, net, images()) for name, task in of_images.items()},
        **{name: Case(task, lambda: pretext.Split(net), images()) for name, task in halves.items()},
        **{name: Case(task, video, clips()) for name, task in of_clips.items()},
        "sound": Case(pretext.Reconstruction, TinySound, several()["audio"].repeat(1, 1, 20)),
        **{name: Case(task, both, several()) for name, task in of_several.items()},
        "picture and text": Case(
            partial(pretext.Embed, first="rgb", second="text", outputs=8, loss=InfoNCE(0.07, learnt=True)),
            picture_and_text,
            captioned(N),
        ),
    }
