"""The host: chance, gradients, schedules, several tasks on one backbone."""

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from clips import TinySound, av_batch, tiny_multimodal
from nets import TinyNet

from pretext import Augment, Jigsaw, Pretrainer, Rotation
from pretext.backbones.multimodal import MultiModal
from pretext.nn.weighting import Uncertainty
from pretext.tasks.adapters.on import On
from pretext.tasks.video.arrow_of_time import ArrowOfTime
from pretext.training.execution import Execution
from pretext.training.optimization import Optim, learning_rate


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


class EpochTask(Rotation):
    """Notes the epochs that it is told; a subclass only so that nothing of the host is replaced."""

    def __init__(self, backbone):
        super().__init__(backbone)
        self.told = []

    def begin(self, epoch):
        self.told.append(epoch)


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
            module = pretrainer(execution=Execution(channels_last=flag))
            module.setup("fit")
            weight = module.backbone.conv2[0].weight
            assert weight.is_contiguous(memory_format=torch.channels_last) == flag
            x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
            results.append(module.eval().look(x).pooled)
        assert torch.allclose(*results, atol=1e-5)

    def test_warm_up_then_cosine(self):
        module = pretrainer(optim=Optim(lambda parameters: torch.optim.SGD(parameters, lr=1.0), warmup=0.2))
        rates = []
        module.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
        train(module, steps=10)
        assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
        assert rates[6] == pytest.approx(0.5)
        assert rates[2:] == sorted(rates[2:], reverse=True)
        assert learning_rate(10, 10, Optim(warmup=0.2)) == pytest.approx(0)
        assert learning_rate(9, 10, Optim(schedule="constant", warmup=0.2)) == 1

    @pytest.mark.parametrize("steps_an_epoch", [1, 7, 390])
    def test_rotnets_steps_fall_at_the_epochs_60_120_and_160(self, steps_an_epoch):
        steps = Optim(schedule="steps", warmup=0.0, milestones=(0.3, 0.6, 0.8), factor=0.2)
        rates = [0.1 * learning_rate(step, 200 * steps_an_epoch, steps) for step in range(200 * steps_an_epoch)]
        published = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
        assert rates == pytest.approx([rate for rate in published for _ in range(steps_an_epoch)])

    def test_steps_that_cannot_be_are_refused(self):
        with pytest.raises(ValueError, match="milestones and schedule: steps go together"):
            Optim(milestones=(0.5,))
        with pytest.raises(ValueError, match="milestones and schedule: steps go together"):
            Optim(schedule="steps")
        for wrong in ((0.5, 0.5), (0.6, 0.3), (0.0,), (1.0,)):
            with pytest.raises(ValueError, match="shares of all steps between 0 and 1 in ascending order"):
                Optim(schedule="steps", milestones=wrong)


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
    assert module.inputs.canvas == 16
    x = torch.randint(0, 256, (2, 3, 16, 16)).byte()
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert module.inputs.centre(twice).shape == (2, 3, 8, 8)
    assert (
        module.inputs.centre(twice) - module.inputs.centre(x)
    ).abs().mean() < 0.15  # the same part of the picture, smoothed
    assert torch.equal(module.inputs.centre(x), Augment(crop=8).centre(x))


@pytest.mark.parametrize("name", ["train", "a.b", "two words"])
def test_a_name_that_no_task_can_have_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a task"):
        Pretrainer(TinyNet(), {name: Rotation})


def test_no_task_and_a_bad_warm_up_are_refused():
    with pytest.raises(ValueError, match="no task"):
        Pretrainer(TinyNet(), {})
    with pytest.raises(ValueError, match=r"warmup .* got 5"):
        Pretrainer(TinyNet(), {"turn": Rotation}, optim=Optim(warmup=5))


def test_a_task_on_the_wrong_kind_of_backbone_is_refused_when_built():
    net = TinyNet()
    net.axes = "t"
    with pytest.raises(ValueError, match=r"Rotation needs a backbone with an axis '\w', but TinyNet reads 't'"):
        Pretrainer(net, {"turn": Rotation})


def test_a_diverging_run_stops_and_names_the_task():
    from pretext.training.callbacks import Divergence

    module = pretrainer(optim=Optim(lambda parameters: torch.optim.SGD(parameters, lr=1e30), warmup=0.0))
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+ \(tasks: turn\); lower"):
        train(module, steps=50, callbacks=[Divergence()])


def test_tasks_are_told_the_epoch_before_every_training_batch():
    module = pretrainer(tasks={"turn": EpochTask})
    train(module, steps=6)  # of four batches an epoch
    assert module.tasks["turn"].told == [0, 0, 0, 0, 1, 1]


class TestSeveralModalities:
    @staticmethod
    def module(**options):
        torch.manual_seed(0)
        tasks = {f"{name}_back": partial(On, modality=name, task=ArrowOfTime) for name in ("rgb", "audio")}
        return Pretrainer(tiny_multimodal(), tasks, **options)

    @staticmethod
    def batch(n=4, side=16):
        x = av_batch(n, window=6, side=side, samples=120)
        rgb, audio = (x["rgb"] * 255).byte(), (x["audio"] * 2**15).short()
        return {"x": {"rgb": rgb, "audio": audio}, "index": torch.arange(n)}

    def fit(self, module, **options):
        loader = Loader([self.batch()] * 2)
        trainer = pl.Trainer(
            max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0, **options,
        )  # fmt: skip
        trainer.fit(module, loader, loader)

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_each_network_is_trained_by_its_own_tasks(self, channels_last):
        module = self.module(augment=Augment(crop=12), execution=Execution(channels_last=channels_last))
        before = {name: p.clone() for name, p in module.backbone.named_parameters()}
        self.fit(module)
        changed = {name for name, p in module.backbone.named_parameters() if not torch.equal(p, before[name])}
        assert changed == set(before)
        assert module.inputs.canvas == 16

    def test_evaluation_is_shown_one_modality_of_the_centre(self):
        module, batch = self.module(augment=Augment(crop=12)), self.batch()
        module.inputs.canvas = 16
        shown = module.inputs.eval_input(batch["x"], "rgb")
        assert torch.equal(shown, batch["x"]["rgb"][..., 2:14, 2:14].float() / 255)
        assert torch.equal(module.inputs.eval_input(batch["x"], "audio") * 2**15, batch["x"]["audio"].float())
        with pytest.raises(ValueError, match=r"the data has no 'flow', only \['audio', 'rgb'\]"):
            module.inputs.eval_input(batch["x"], "flow")

    def test_canvases_of_another_size_are_resized_as_images_are(self):
        module, batch = self.module(augment=Augment(crop=12)), self.batch(side=32)
        module.inputs.canvas = 16
        shown = module.inputs.eval_input(batch["x"], "rgb")
        assert shown.shape == (4, 3, 6, 12, 12)
        frame = pretrainer(augment=Augment(crop=12))
        frame.inputs.canvas = 16
        assert torch.equal(shown[:, :, 3], frame.inputs.centre(batch["x"]["rgb"][:, :, 3]))

    def test_the_first_network_is_the_one_to_probe_and_unknown_ones_are_named(self):
        module = self.module()
        network, modality = module.inputs.network()
        assert network is module.backbone.backbones["rgb"]
        assert modality == "rgb"
        assert module.inputs.network("audio")[0] is module.backbone.backbones["audio"]
        with pytest.raises(ValueError, match=r"no network for 'flow', only for \['rgb', 'audio'\]"):
            module.inputs.network("flow")
        with pytest.raises(ValueError, match=r"TinyNet is one network"):
            pretrainer().inputs.network("rgb")

    def test_features_of_each_modality_are_predicted(self):
        module, batch = self.module().eval(), self.batch()
        found = module.predict_step(batch, 0)
        assert {name: tuple(values.shape) for name, values in found.items()} == {
            "index": (4,),
            "pooled.rgb": (4, 8),
            "pooled.audio": (4, 8),
        }
        alone = module.backbone.backbones["audio"](module.inputs.eval_input(batch["x"], "audio")).pooled
        torch.testing.assert_close(found["pooled.audio"], alone)

    def test_an_image_backbone_predicts_the_mean_over_a_clips_frames(self):
        module, clips = pretrainer().eval(), self.batch()["x"]["rgb"]
        found = module.predict_step({"x": clips, "index": torch.arange(4)}, 0)["pooled"]
        each = [module.look(clips[:, :, t].float() / 255).pooled for t in range(6)]
        torch.testing.assert_close(found, torch.stack(each).mean(0))

    def test_what_has_no_network_is_left_out_and_image_networks_see_frames(self):
        torch.manual_seed(0)
        backbone = MultiModal({"rgb": TinyNet(), "audio": TinySound()})
        tasks = {"back": partial(On, modality="audio", task=ArrowOfTime)}
        module, batch = Pretrainer(backbone, tasks).eval(), self.batch()
        batch["x"]["flow"] = torch.zeros(4, 2, 6, 16, 16, dtype=torch.uint8)
        found = module.predict_step(batch, 0)
        frames = [backbone.network("rgb")(batch["x"]["rgb"][:, :, t].float() / 255).pooled for t in range(6)]
        torch.testing.assert_close(found["pooled.rgb"], torch.stack(frames).mean(0))
        assert found.keys() == {"index", "pooled.rgb", "pooled.audio"}

    def test_several_modalities_for_one_network_are_refused_in_training_and_evaluation(self):
        module, x = pretrainer(), self.batch()["x"]
        with pytest.raises(ValueError, match=r"the data has rgb, audio, but TinyNet is one network; name one in"):
            module.exam(module.tasks["turn"], x, "key")
        with pytest.raises(ValueError, match=r"TinyNet reads 'hw', the data has a dict of \['audio', 'rgb'\]"):
            module.inputs.eval_input(x)
