import json
import warnings
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from descent import descend
from labelled_sets import Labelled
from nets import TinyNet
from torch import nn

from datamodules import Digits, Pairs
from pretext import DANN, Adaptation, Bridge, MinEnt, Rotation
from pretext.core.ranks import together
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.nn.gradient_reversal import annealed, strength_at
from pretext.nn.self_information import Told
from pretext.supervised.adaptation.methods import Step
from pretext.supervised.adaptation.readouts import Beside
from pretext.supervised.adaptation.selection import Chosen, Tallies
from pretext.training.callbacks import AtomicCheckpointIO
from pretext.training.optimization import Optim
from pretext.training.run import restore
from pretext.views.augment import Augment

ADAM = Optim(partial(torch.optim.Adam, lr=0.01))


def trainer(folder, epochs=1, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "plugins": [AtomicCheckpointIO()], "num_sanity_val_steps": 0}
    return pl.Trainer(default_root_dir=folder, max_epochs=epochs, **quiet, **options)


def bright(count, key, turned=False):
    """Pictures that are brighter on their left or on their right side; in the other domain dark for bright."""
    chance = rng("cpu", "bright", key)
    y = torch.arange(count) % 2
    x = 80 + 20 * torch.randn(count, 3, 8, 8, generator=chance)
    x[y == 0, ..., :4] += 60
    x[y == 1, ..., 4:] += 60
    x = 255 - x if turned else x
    return x.clamp(0, 255).to(torch.uint8), y


def pairs(**options):
    sides = [
        Labelled(bright(64, key, turned), bright(32, key + 1, turned), ("left", "right"))
        for key, turned in ((0, False), (2, True))
    ]
    return Pairs(*sides, **{"batch_size": 16, **options})


def adapted(folder, method, epochs=1, data=None, net=None, **options):
    torch.manual_seed(0)
    backbone = net or TinyNet(dropout=0.2)
    module = Adaptation(backbone=backbone, method=method, optim=ADAM, **options)
    trainer(folder, epochs).fit(module, datamodule=data or pairs())
    return module


def score_of(folder, module, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers
        trainer(folder).test(module, datamodule=data, verbose=False)
    return json.loads((folder / "score.json").read_text())


def learnt(module):
    state = module.state_dict()
    return {name: part for name, part in state.items() if not name.startswith("method.")}


class TestNothing:
    @pytest.mark.parametrize(
        "method",
        [partial(DANN, weight=0.0), partial(MinEnt, weight=0.0), partial(Bridge, tasks={"turn": Rotation}, weight=0.0)],
    )
    def test_of_weight_0_is_source_only_bit_for_bit(self, method, tmp_path):
        """Batch norm, dropout, crops: whatever of the target reached the network would show."""
        options = {"augment": Augment(crop=6), "keep_best": False}
        alone, nothing = (learnt(adapted(tmp_path, one, **options)) for one in (None, method))
        assert alone.keys() == nothing.keys()
        assert all(torch.equal(alone[name], nothing[name]) for name in alone)

    def test_lambda_0_leaves_the_source_only_gradient_although_the_domains_are_told_apart(self):
        torch.manual_seed(0)
        net, head = TinyNet(norm=False), nn.Linear(16, 3)
        dann = DANN(net)
        x, other = (torch.rand(8, 3, 8, 8, generator=rng("cpu", key)) for key in range(2))
        y = torch.arange(8) % 3

        def gradients(strength):
            net.zero_grad()
            pooled = net(x).pooled
            loss = nn.functional.cross_entropy(head(pooled), y)
            if strength is not None:
                loss = loss + dann.compare(pooled, net(other).pooled, strength).loss
            loss.backward()
            return [p.grad.clone() for p in net.parameters()]

        alone, nothing, something = gradients(None), gradients(0.0), gradients(0.5)
        assert all(torch.equal(a, b) for a, b in zip(alone, nothing, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(alone, something, strict=True))
        assert all(p.grad.abs().sum() > 0 for p in dann.parameters())


class Plane(Backbone):
    """Points of a plane, as pictures of one pixel: a linear map of them, and noise on top.

    Without the noise, however small the map makes what tells two domains apart, a judge could enlarge it again.
    """

    axes = "hw"

    def __init__(self):
        super().__init__()
        self.dim, self.stages = 2, {"only": 2}
        self.only = nn.Linear(2, 2, bias=False)
        nn.init.eye_(self.only.weight)

    def forward(self, x):
        seen = self.only(x[:, :2, 0, 0])
        noise = 0.3 * torch.randn(seen.shape, generator=rng("cpu", int(1e4 * float(x.abs().sum()))))
        return Features({"only": seen[:, :, None, None]}, seen + noise)


def gaussians(domain, key, count=256):
    """Two classes along one axis; the domains lie apart along the other."""
    chance = rng("cpu", "gaussians", domain, key)
    y = torch.arange(count) % 2
    x = 0.5 * torch.randn(count, 3, 1, 1, generator=chance)
    x[:, 0, 0, 0] += 2.0 * y - 1
    x[:, 1, 0, 0] += 1.4 * domain - 0.7
    return x, y


def judged(net):
    """How well a new judge tells the domains apart by what a network makes of them."""
    dann = DANN(net, hidden=16)

    def graded(step):
        with torch.no_grad():
            features = [net(gaussians(domain, step)[0]).pooled for domain in (0, 1)]
        return dann.compare(*features, 0.0)

    descend([dann], lambda step: graded(step).loss, 60, 0.05)
    return float(graded(-1).scores["domain"])


@pytest.mark.parametrize("seed", [0, 1])
def test_two_gaussians_cannot_be_told_apart_afterwards_and_the_classes_can(seed):
    """Without momentum, and with some decay of weights: else the two players go round in circles."""
    torch.manual_seed(seed)
    net, head = Plane(), nn.Linear(2, 2)
    dann = DANN(net, hidden=16)
    assert judged(net) > 0.85
    groups = [{"params": [*net.parameters(), *head.parameters()]}, {"params": dann.parameters(), "lr": 0.06}]
    optimiser, rates = torch.optim.AdamW(groups, 0.02, betas=(0.0, 0.99), weight_decay=0.1), (0.02, 0.06)
    for step in range(200):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * annealed(step / 200)
        (x, y), (other, _) = gaussians(0, step), gaussians(1, step)
        pooled = net(x).pooled
        told = dann.compare(pooled, net(other).pooled, strength_at(step / 200)).loss
        optimiser.zero_grad()
        (nn.functional.cross_entropy(head(pooled), y) + told).backward()
        optimiser.step()
    x, y = gaussians(1, -1)
    assert abs(judged(net) - 0.5) < 0.1
    assert float((head(net(x).pooled).argmax(1) == y).float().mean()) > 0.9


def test_a_prior_brings_back_the_class_that_is_not_named():
    """All targets lean a little to one class: entropy alone makes them surer of it, with the prior they come back."""
    logits = torch.tensor([[0.25, 0.0]]).repeat(4, 1).requires_grad_()
    step = Step(*[torch.zeros(4, 1)] * 2, (), (logits, logits), torch.tensor([0.5, 0.5]), 0.0, None)
    for prior, sign in ((0.0, -1), (1.0, 1)):
        logits.grad = None
        with together():
            grade = MinEnt(TinyNet(), weight=1.0, prior=prior)(step)
        grade.loss.backward()
        assert torch.equal(logits.grad[:, 0].sign(), torch.full((4,), float(sign)))
    missed = 0.5 - float(logits.detach()[0].softmax(0)[1])
    assert float(grade.scores["missed"].detach()) == pytest.approx(missed, abs=1e-6)


class TestTargetLabels:
    def test_training_and_selection_are_the_same_whatever_the_targets_labels_say(self, tmp_path):
        """Labels of the target turned over, in training and test: weights and choice keep their bits."""
        x, y = (torch.rand(96, 3, 8, 8, generator=rng("cpu", 0)) * 255).to(torch.uint8), torch.arange(96) % 2
        source = Labelled((x, y), (x[:16], y[:16]), "ab")

        def run(labels):
            target = Labelled((x.flip(0), labels), (x[:16], labels[:16]), "ab")
            data = Pairs(source, target, batch_size=16)
            module = adapted(tmp_path, DANN, 2, data)
            return learnt(module), module.choice.known, score_of(tmp_path, module, data)

        one, other = run(y), run(1 - y)
        assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
        assert one[1] == other[1]
        assert one[2]["accuracy"] == pytest.approx(1 - other[2]["accuracy"])
        assert "no label of the target" in one[2]["selected"]

    @pytest.mark.parametrize(
        ("answers", "told", "score"),
        [
            pytest.param([[50.0, 0.0], [50.0, 0.0]], (0.0, 0.0), 0.5, id="sure that all is of one class"),
            pytest.param([[0.0, 0.0], [0.0, 0.0]], (1.0, 1.0), 0.5, id="blind guesses"),
            pytest.param([[50.0, 0.0], [0.0, 50.0]], (0.0, 1.0), 1.5, id="sure, and not always of the same"),
        ],
    )
    def test_the_choice_is_source_accuracy_and_information_of_the_target(self, answers, told, score):
        tallies, target = Tallies(), {"domain": "target"}
        sure = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
        tallies.add(sure, {"domain": "source", "y": torch.tensor([0, 1])}, 0)
        for number, row in enumerate(answers):  # in batches of one
            tallies.add(torch.tensor([row]), target, number + 1)
        tallies.add(sure, {**target, "spare": True}, len(answers) + 1)
        found = tallies.chosen()
        assert (found.accuracy, *found.target) == pytest.approx((0.5, *told), abs=1e-6)
        assert found.score == pytest.approx(score, abs=1e-6)

    def test_without_held_out_target_items_source_accuracy_counts_alone(self):
        tallies = Tallies()
        tallies.add(torch.eye(2), {"domain": "source", "y": torch.tensor([0, 1])}, 0)
        assert tallies.chosen() == Chosen(1.0, Told(0.0, 0.0))


@pytest.mark.parametrize("method", [None, DANN, partial(Bridge, tasks={"turn": Rotation}), partial(MinEnt, weight=0.1)])
def test_every_method_trains_is_tested_and_comes_back(method, tmp_path):
    data = pairs()
    module = adapted(tmp_path, method, 2, data)
    score = score_of(tmp_path, module, data)
    names = [row["name"] for row in score["rows"]]
    assert names[0] == ("labels alone" if method is None else type(module.method).__name__)
    assert names[1] == "read-out as it is"
    assert names[2].startswith("subspace alignment")
    assert score["rows"][0]["accuracy"] == score["accuracy"]
    assert [row["gap_closed"] for row in score["rows"]] == [None] * 3
    assert score["items"] == 32
    assert 0 <= score["source"]["low"] <= score["source"]["accuracy"]
    told = Told(score["entropy"], score["diversity"])
    assert Chosen(score["validation"], told).score == pytest.approx(module.choice.kept.best.score)


def test_other_runs_stand_beside_and_the_gap_is_told(tmp_path):
    data = pairs()
    runs = {}
    for name, options in (("low", {}), ("high", {"labelled": "target"})):
        module = adapted(tmp_path / name, None, 2, pairs(**options))
        runs[name] = score_of(tmp_path / name, module, pairs(**options))
        (tmp_path / name / "config.yaml").write_text("model: {}")
    beside = Beside(str(tmp_path / "low"), str(tmp_path / "high"))
    score = score_of(tmp_path, adapted(tmp_path, DANN, 1, data, beside=beside), data)
    low, high = (runs[name]["accuracy"] for name in ("low", "high"))
    rows = {row["name"]: row for row in score["rows"]}
    assert (rows["source only"]["accuracy"], rows["train on target"]["accuracy"]) == (low, high)
    wanted = (score["accuracy"] - low) / (high - low) if high > low else None
    assert rows["DANN"]["gap_closed"] == (None if wanted is None else pytest.approx(wanted))


class TestRefusals:
    def test_data_of_one_domain(self, tmp_path):
        module = Adaptation(backbone=TinyNet(), method=DANN)
        with pytest.raises(ValueError, match=r"Adaptation: data of one domain; give both, --data datamodules\.Pairs"):
            trainer(tmp_path).fit(module, datamodule=Digits(size=12))

    def test_domains_of_other_sizes(self, tmp_path):
        data = Pairs(Digits(size=12), Digits(size=10))
        told = r"source is \(3, 12, 12\), of the target \(3, 10, 10\); give both data modules one size"
        with pytest.raises(ValueError, match=told):
            trainer(tmp_path).fit(Adaptation(backbone=TinyNet()), datamodule=data)

    def test_a_schedule_without_an_end(self, tmp_path):
        with pytest.raises(ValueError, match="the end of training is not known, but lambda follows it"):
            trainer(tmp_path, -1, max_time="00:00:00:30").fit(
                Adaptation(backbone=TinyNet(), method=DANN), datamodule=pairs()
            )


def test_a_run_goes_on_and_its_best_weights_are_those_that_are_loaded(tmp_path):
    def stopped(folder, epochs, ckpt=None):
        torch.manual_seed(0)
        module = Adaptation(backbone=TinyNet(dropout=0.2), method=DANN, optim=Optim(ADAM.optimizer, "constant"))
        run = trainer(folder, epochs)
        run.fit(module, datamodule=pairs(), ckpt_path=ckpt)
        run.save_checkpoint(folder / "last.ckpt")
        return module

    # DANN's lambda follows the share of all steps, so both runs are told of the same number of them
    whole = stopped(tmp_path / "whole", 2)
    checkpoint = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    assert checkpoint["best"]["score"] == whole.choice.kept.best.score
    (tmp_path / "whole" / "checkpoints").mkdir()
    (tmp_path / "whole" / "last.ckpt").rename(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    fresh = restore(Adaptation(backbone=TinyNet(dropout=0.2), method=DANN), tmp_path / "whole")
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in whole.choice.kept.best.weights.items())
