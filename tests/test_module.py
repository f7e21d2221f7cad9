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
        num_sanity_val_steps=0,
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
        assert len(seen["alone"]) == 3
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
            weight = module.backbone.conv2[0].weight
            assert weight.is_contiguous(memory_format=torch.channels_last) == flag
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


def test_validation_poses_the_same_puzzles_every_epoch_and_training_others():
    module = pretrainer(tasks={"puzzle": jigsaw})
    posed = record_poses(module.tasks["puzzle"])
    train(module, steps=8, check_val_every_n_epoch=1)  # two epochs: 4 training batches and 1 for validation in each
    seeds = [seed for _, seed in posed]
    assert len(seeds) == 10
    assert seeds[4] == seeds[9]
    assert len(set(seeds)) == 9


def test_rank_and_split_reach_the_puzzles(monkeypatch):
    for logging in ("log", "log_dict"):  # which need a trainer
        monkeypatch.setattr(Pretrainer, logging, lambda *values, **options: None)
    module = pretrainer(tasks={"puzzle": jigsaw})
    posed = record_poses(module.tasks["puzzle"])
    batch = {"x": torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "index": torch.arange(2)}
    for rank, split in ((0, "val"), (1, "val"), (0, "test")):
        monkeypatch.setattr(Pretrainer, "global_rank", rank)
        module._examine(batch, 0, split)
    assert len({seed for _, seed in posed}) == 3


def test_weights_in_bfloat16_train_too():
    module = pretrainer(tasks={"turn": Rotation, "puzzle": jigsaw})
    trainer = train(module, precision="bf16-true")
    assert next(module.backbone.parameters()).dtype == torch.bfloat16
    assert trainer.callback_metrics["train/loss"].isfinite()


def test_canvases_of_another_size_are_resized_to_that_of_training():
    module = pretrainer(augment=Augment(crop=8))
    train(module)
    assert module.canvas == 16
    x = torch.randint(0, 256, (2, 3, 16, 16)).byte()
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert module.view(twice).shape == (2, 3, 8, 8)
    assert (module.view(twice) - module.view(x)).abs().mean() < 0.15  # the same part of the picture, smoothed
    assert torch.equal(module.view(x), Augment(crop=8).centre(x))


@pytest.mark.parametrize("name", ["train", "a.b", "two words"])
def test_a_name_that_no_task_can_have_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a task"):
        Pretrainer(TinyNet(), {name: Rotation})


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
