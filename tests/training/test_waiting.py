"""A step never waits for the device: nothing in it reads a value on the host, or copies one there from Python.

On a CPU nothing waits, so the operations are counted that would: those that read a value, those whose result's shape
depends on values, and tensors made of Python's numbers, whose copy the host waits for.
"""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from clips import TinySound, TinyVideo, av_batch, moving, tiny_multimodal
from nets import TinyNet
from torch.utils._python_dispatch import TorchDispatchMode

import pretext
from pretext import Augment, Pretrainer, Rotation, Split, tasks
from pretext.core.rng import rng
from pretext.nn.alignment_readouts import Contrastive
from pretext.nn.colour_targets import ColourValues
from pretext.nn.split_targets import SplitValues
from pretext.nn.teachers import Momentum
from pretext.nn.weighting import Uncertainty
from pretext.ops.negatives import Negatives
from pretext.tasks.adapters.on import On
from pretext.tasks.adapters.on_frames import OnFrames
from pretext.training.callbacks import Checkpoint, Stagnation, Throughput

READS = {"_local_scalar_dense", "equal", "is_nonzero"}
SHAPES = {"nonzero", "masked_select", "unique", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
COPIES = {"lift_fresh"}


class Waits(TorchDispatchMode):
    """Lists the operations for which a host would wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        masks = name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple)
        masks = masks and any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        grows = name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        if name in READS | SHAPES | COPIES or masks or grows:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Again:
    """One batch, again and again."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return 8

    def __iter__(self):
        return iter([self.batch] * 8)


def images(side=32):
    return torch.rand(4, 3, side, side, generator=rng("cpu", "waiting"))


def several(window=12):
    x = av_batch(4, window)
    return x | {"grey": x["rgb"].mean(1, keepdim=True), "flow": x["rgb"][:, :2].flip(-1)}


JIGSAW = partial(pretext.Jigsaw, permutations=20, width=16, hidden=16)
MIX = {"easy": 0.3, "hard": 0.4, "super_hard": 0.3}
MULTI = partial(tiny_multimodal, True)
ALIGN = partial(pretext.Alignment, first="rgb", second="audio", frames=4)
DISTIL = partial(pretext.Distillation, frames=4, teacher="grey")
CASES = {
    "rotation": (Rotation, TinyNet, images()),
    "rotation, one": (partial(Rotation, turns="one"), TinyNet, images()),
    "rotation of clips": (Rotation, TinyVideo, moving(4, 4)),
    "jigsaw": (JIGSAW, TinyNet, images(48)),
    "jigsaw, foreign": (partial(JIGSAW, foreign=1, puzzles=3), TinyNet, images(48)),
    "position": (partial(pretext.RelativePosition, hidden=16), TinyNet, images(48)),
    "inpainting": (partial(pretext.Inpainting, width=8, channels=8), TinyNet, images()),
    "inpainting, block": (partial(pretext.Inpainting, mask="block", width=8, channels=8), TinyNet, images()),
    "inpainting, centre": (
        partial(pretext.Inpainting, mask="centre", adversarial=0.1, width=8, channels=8), TinyNet, images()
    ),
    "colorization": (pretext.Colorization, TinyNet, images()),
    "colorization, values": (partial(pretext.Colorization, target=ColourValues()), TinyNet, images()),
    "split-brain": (pretext.SplitBrain, partial(Split, TinyNet), images()),
    "split-brain, values": (partial(pretext.SplitBrain, target=SplitValues()), partial(Split, TinyNet), images()),
    "counting": (partial(pretext.Counting, length=16, hidden=16), TinyNet, images()),
    "super-resolution": (partial(pretext.SuperResolution, width=8, adversarial=0.1), TinyNet, images()),
    "contrast": (pretext.Contrast, TinyNet, images()),
    "autoencoding": (partial(pretext.Autoencoding, width=8, shrink=2), TinyNet, images()),
    "denoising": (partial(pretext.Denoising, width=8, noise="salt_and_pepper"), TinyNet, images()),
    "vae": (partial(pretext.VAE, latents=4, size=16, width=8), TinyNet, images()),
    "edges": (partial(pretext.Edges, width=8), TinyNet, images()),
    "keypoints": (partial(pretext.Keypoints, width=8), TinyNet, images()),
    "arrow of time": (partial(pretext.ArrowOfTime, frames=4), TinyVideo, moving(4, 6)),
    "arrow of sound": (partial(pretext.ArrowOfTime, frames=30), TinySound, torch.rand(4, 1, 40) - 0.5),
    "clip order": (partial(pretext.ClipOrder, pieces=3, frames=3, gap=2, width=16), TinyVideo, moving(4, 14)),
    "frame order": (
        partial(pretext.ClipOrder, pieces=4, frames=1, gap=2, width=16, jitter=1, channel_splitting=True),
        TinyNet, moving(4, 10),
    ),
    "future prediction": (partial(pretext.FuturePrediction, frames=3, future=2, width=8), TinyVideo, moving(4, 7)),
    "odd one out": (partial(pretext.OddOneOut, clips=4, frames=5, width=16), TinyVideo, moving(4, 9)),
    "reconstruction": (partial(pretext.Reconstruction, frames=3, width=8), TinyVideo, moving(4, 5)),
    "shuffle and learn": (partial(pretext.ShuffleAndLearn, hidden=16, span=(4, 8)), TinyNet, moving(4, 13)),
    "alignment": (partial(ALIGN, negatives=Negatives(kinds=MIX, gap=0)), MULTI, several()),
    "alignment, contrastive": (partial(ALIGN, readout=Contrastive()), MULTI, several()),
    "embed": (partial(pretext.Embed, frames=4), MULTI, several()),
    "cross-modal prediction": (
        partial(pretext.CrossModalPrediction, source="rgb", target="flow", frames=3, width=8), MULTI, several()
    ),
    "distillation": (DISTIL, MULTI, several()),
    "distillation, momentum": (partial(DISTIL, copy=partial(Momentum, momentum=0.9)), MULTI, several()),
    "on": (partial(On, modality="rgb", task=partial(OnFrames, task=Rotation)), MULTI, several()),
    "on frames": (partial(OnFrames, task=pretext.Colorization), TinyVideo, moving(4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_task_waits(name):
    factory, network, x = CASES[name]
    torch.manual_seed(0)
    module = Pretrainer(network(), {"task": factory})
    (task,) = module.tasks.values()

    def step(key):
        module._weighted({"task": module.exam(task, x, "waiting", key)}).backward()
        task.follow(module.backbone)

    step(0)  # what is made once and kept
    with Waits() as waits:
        step(1)
    assert waits.found == []


def test_every_task_is_among_them():
    named = {getattr(factory, "func", factory).__name__ for factory, _, _ in CASES.values()}
    assert named == set(tasks.__all__)


@pytest.mark.parametrize(
    "views",
    [
        Augment(crop=28, pad=2),
        Augment(28, scale=(0.1, 1), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey=0.2, jitter=0.8),
    ],
    ids=["native", "resized"],
)
def test_a_whole_step_of_training_does_not_wait(tmp_path, views):
    """With what a run has around it, but for the look at the loss, which is for the CPU alone."""
    torch.manual_seed(0)
    several = {"turn": Rotation, "contrast": pretext.Contrast, "colour": pretext.Colorization}
    optim = pretext.Optim(partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    module = Pretrainer(TinyNet(), several, weighting=Uncertainty, augment=views, scale_by_chance=True, optim=optim)
    batch = {"x": (images() * 255).byte(), "index": torch.arange(4)}
    found = {}

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.mode = Waits().__enter__()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.mode.__exit__(None, None, None)
            found[trainer.global_step] = self.mode.found

    trainer = pl.Trainer(
        max_steps=7, log_every_n_steps=100, default_root_dir=tmp_path, callbacks=[Stagnation(), Look(), Checkpoint()],
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(module, Again(batch), Again(batch))
    steady = {step: names for step, names in found.items() if step > 1}
    assert steady == {step: ["lift_fresh"] for step in range(2, 8)}  # the learning rate, as a tensor of the host


def test_the_speed_is_measured_without_waiting():
    """`Throughput` hands its number over after the step: it is never a tensor of the device."""
    torch.manual_seed(0)
    module, speed = Pretrainer(TinyNet(), {"turn": Rotation}), Throughput()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    batch = {"index": torch.arange(4)}
    with Waits() as waits:
        for step in range(3):
            speed.on_train_batch_end(trainer, module, None, batch, step)
    assert set(waits.found) <= {"lift_fresh"}
    assert trainer.callback_metrics["items/s"].device.type == "cpu"


def test_no_kind_of_device_that_is_not_there_is_seeded(monkeypatch):
    """`torch.manual_seed` notes a traceback for each of them, in every step."""
    import traceback

    from pretext.core.rng import seed_torch

    def formats(*args, **kwargs):
        raise AssertionError("a traceback was formatted")

    monkeypatch.setattr(traceback, "format_stack", formats)
    seed_torch("cpu", "waiting")
