"""The host: chance, gradients, schedules, several tasks on one backbone."""

import math

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet

from pretext import Augment, Jigsaw, Pretrainer, Rotation
from pretext.module import learning_rate
from pretext.weighting import Uncertainty


class Loader:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def batches(count=4, size=8, side=16):
    images = torch.randint(0, 256, (count * size, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()
    return Loader([{"x": x, "index": torch.arange(size)} for x in images.split(size)])


def jigsaw(backbone):
    return Jigsaw(backbone, grid=2, permutations=24)


def train(module, steps=3, **options):
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module, batches(), batches(1))
    return trainer


def pretrainer(**options):
    torch.manual_seed(0)
    return Pretrainer(TinyNet(), options.pop("tasks", {"turn": Rotation}), **options)


def record_poses(task):
    """Let a task keep what it is asked to pose: the images and the seed of the generator."""
    pose, posed = task.pose, []

    def recorded(x, rng):
        posed.append((x.clone(), rng.initial_seed()))
        return pose(x, rng)

    task.pose = recorded
    return posed


class TestTraining:
    def test_two_tasks_train_one_backbone(self):
        module = pretrainer(tasks={"turn": Rotation, "puzzle": jigsaw}, weighting=Uncertainty, augment=Augment(crop=16))
        before = {name: p.detach().clone() for name, p in module.named_parameters()}
        trainer = train(module)
        still = [name for name, p in module.named_parameters() if torch.equal(p, before[name])]
        assert not still, f"never trained: {still}"
        assert {"train/turn/loss", "train/puzzle/accuracy", "train/loss", "lr"} <= set(trainer.callback_metrics)

    def test_adding_a_task_does_not_change_anothers_puzzles(self):
        seen = {}
        for label, tasks in {"alone": {"turn": Rotation}, "both": {"puzzle": jigsaw, "turn": Rotation}}.items():
            module = pretrainer(tasks=tasks)
            task = module.tasks["turn"]
            seen[label] = record_poses(task)
            train(module)
        assert len(seen["alone"]) == 4  # three steps and a validation batch
        for (x, seed), (other, other_seed) in zip(seen["alone"], seen["both"], strict=True):
            assert torch.equal(x, other)
            assert seed == other_seed

    def test_same_seed_same_weights_and_another_seed_others(self):
        def weights(seed):
            module = pretrainer(seed=seed, augment=Augment(crop=12))
            train(module)
            return torch.cat([p.detach().flatten() for p in module.parameters()])

        assert torch.equal(weights(0), weights(0))
        assert not torch.equal(weights(0), weights(1))

    def test_channels_last_changes_the_layout_and_not_the_result(self):
        results = []
        for flag in (False, True):
            module = pretrainer(channels_last=flag)
            module.setup("fit")
            x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
            results.append(module.eval().look(x).pooled)
        assert torch.allclose(*results, atol=1e-5)

    def test_warm_up_then_cosine(self):
        module = pretrainer(warmup=0.2, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0))
        rates = []
        module.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
        train(module, steps=10)
        assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
        assert rates[6] == pytest.approx(0.5)
        assert rates[2:] == sorted(rates[2:], reverse=True)
        assert learning_rate(10, 10, 0.2, "cosine") == pytest.approx(0)
        assert learning_rate(9, 10, 0.2, "constant") == 1


def test_the_blind_guess_scale_makes_losses_comparable():
    module = pretrainer(tasks={"turn": Rotation, "puzzle": jigsaw}, scale_by_chance=True)
    assert module.scales == pytest.approx({"turn": math.log(4), "puzzle": math.log(24)})


def test_validation_poses_the_same_puzzles_every_epoch():
    module = pretrainer()
    x = torch.rand(4, 3, 16, 16)
    grades = [module.eval().exam(module.tasks["turn"], x, 0, "val", "turn", 0, 0, 0).loss for _ in range(2)]
    assert torch.equal(*grades)


def test_no_task_and_a_bad_warm_up_are_refused():
    with pytest.raises(ValueError, match="no task"):
        Pretrainer(TinyNet(), {})
    with pytest.raises(ValueError, match=r"warmup .* got 5"):
        Pretrainer(TinyNet(), {"turn": Rotation}, warmup=5)


def test_a_task_on_the_wrong_kind_of_backbone_is_refused_when_built():
    net = TinyNet()
    net.axes = "t"
    with pytest.raises(ValueError, match=r"Rotation needs a backbone with an axis '\w', but TinyNet reads 't'"):
        Pretrainer(net, {"turn": Rotation})


def test_a_diverging_run_stops_and_names_the_task():
    from pretext.callbacks import Divergence

    module = pretrainer(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e30), warmup=0.0)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+ \(tasks: turn\); lower"):
        train(module, steps=50, callbacks=[Divergence()])
