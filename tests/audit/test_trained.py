"""What trained heads still answer when the relation is gone: a column of benchmarks."""

from functools import partial

import pytest
import pytorch_lightning as pl
from nets import TinyNet

from datamodules import Digits, Splitting
from pretext import Jigsaw, Pretrainer, Rotation
from pretext.audit.trained import control_scores
from pretext.benchmark.train import pretext_skill
from pretext.nn.weighting import Fixed


class Unharmed(Rotation):
    """A task whose control takes nothing away."""

    def destroyed(self, puzzle, rng):
        return puzzle


@pytest.fixture(scope="module")
def validated():
    """Validate three tasks, and one of weight 0; one has a control that harms nothing, one none."""
    data = Digits(size=16, batch_size=60, split=Splitting(limit=300, val=0.4))
    tasks = {"turn": Rotation, "same": Unharmed, "jigsaw": lambda net: Jigsaw(net, permutations=4), "off": Unharmed}
    module = Pretrainer(TinyNet(), tasks, partial(Fixed, weights={"off": 0}), seed=3)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (scores,) = trainer.validate(module, datamodule=data, verbose=False)
    return scores, control_scores(module.eval(), data.val_dataloader())


def test_a_control_that_harms_nothing_scores_what_validation_scored(validated):
    scores, controls = validated
    for name in ("same/loss", "same/accuracy"):
        assert controls[name] == pytest.approx(scores[f"val/{name}"], rel=1e-5)
    assert not [name for name in controls if name.startswith("turn")]
    assert {"jigsaw/loss", "jigsaw/accuracy"} <= set(controls)


def test_a_task_of_weight_0_is_asked_as_little_as_in_validation(validated):
    scores, controls = validated
    assert not [name for name in (*scores, *controls) if name.split("/")[-2:-1] == ["off"]]
    guesses = {name: {"loss": 9.0, "accuracy": -1.0} for name in ("turn", "same", "jigsaw", "off")}
    assert pretext_skill(scores, guesses, controls)["control"] is not None


def test_tiles_of_other_items_are_what_the_control_shows(validated):
    scores, controls = validated
    assert controls["jigsaw/loss"] != scores["val/jigsaw/loss"]


def test_the_share_that_is_left_is_of_what_lies_above_a_blind_guess():
    chance = {"a": {"loss": 2.0, "accuracy": 0.25}, "b": {"loss": 1.0}, "c": {"loss": 1.0, "accuracy": 0.5}}
    logged = {"val/a/loss": 1.0, "val/a/accuracy": 0.65, "val/b/loss": 0.6, "val/c/loss": 1.0, "val/c/accuracy": 0.5}
    controls = {"a/loss": 3.0, "a/accuracy": 0.35, "b/loss": 0.8, "c/loss": 1.0, "c/accuracy": 0.6}
    found = pretext_skill(logged, chance, controls)
    assert found["control"] == pytest.approx((0.1 / 0.4 + 0.2 / 0.4) / 2)  # of c nothing lies above
    assert found["skill"] == pytest.approx((0.5 + 0.4 + 0) / 3)
    assert "control" not in pretext_skill(logged, chance, {})


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy", "ranking"])
def test_a_score_that_a_task_names_counts_and_not_its_loss(score):
    """A loss far above a blind guess's is a network that is sure and wrong, which is no share of anything."""
    chance = {"a": {"loss": 0.69, score: 0.5}}
    logged, controls = {"val/a/loss": 0.4, f"val/a/{score}": 0.9}, {"a/loss": 3.0, f"a/{score}": 0.6}
    assert pretext_skill(logged, chance, controls)["control"] == pytest.approx(0.1 / 0.4)


def test_what_an_earlier_version_stored_of_a_task_of_weight_0_counts_for_nothing():
    chance = {"a": {"loss": 2.0, "accuracy": 0.25}, "off": {"loss": 1.0, "accuracy": 0.5}}
    logged = {"val/a/loss": 1.0, "val/a/accuracy": 0.65}
    controls = {"a/loss": 3.0, "a/accuracy": 0.35, "off/loss": 1.0, "off/accuracy": 0.5}
    found = pretext_skill(logged, chance, controls)
    assert (found["skill"], found["control"]) == (pytest.approx(0.5), pytest.approx(0.1 / 0.4))
