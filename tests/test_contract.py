"""The contract catches every culprit it names, and lets honest tasks of several kinds pass."""

import math
from functools import partial

import pytest
import torch
from nets import TinyNet
from torch import nn

from pretext import testing
from pretext.core import ranks
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.geometric import quarter_turn

X = torch.rand(8, 3, 8, 8, generator=rng("cpu", "contract", "images"))


class Honest(Task):
    """Was the image turned by 180 degrees? Every culprit below breaks one thing of it."""

    def __init__(self, backbone):
        super().__init__()
        self.head = nn.Linear(backbone.dim, 2)
        nn.init.normal_(self.head.weight, std=0.01)

    def pose(self, x, rng):
        labels = torch.randint(2, (len(x),), generator=rng, device=x.device)
        return Puzzle(torch.where(labels.bool()[:, None, None, None], quarter_turn(x, 2), x), labels)

    def solve(self, features, given):
        return self.head(features.pooled)

    def grade(self, prediction, answer):
        return cross_entropy(prediction, answer)

    def chance(self):
        return blind_guess(2)

    def draw(self, puzzle, prediction):
        return [[Panel(image)] for image in puzzle.question]


class LeaksThroughAPixel(Honest):
    def pose(self, x, rng):
        question, answer, _ = super().pose(x, rng)
        question[:, :, 0, 0] = answer[:, None].to(x.dtype)
        return Puzzle(question, answer)


class LeaksThroughWhatIsGiven(Honest):
    def pose(self, x, rng):
        question, answer, _ = super().pose(x, rng)
        return Puzzle(question, answer, given=answer.to(x.dtype))

    def solve(self, features, given):
        return self.head(features.pooled) + torch.stack((-given, given), 1) * self.head.weight.mean()


class LeaksThroughTheBatch(Honest):
    """Sorts the answers, so that a place in the batch, which a head that sees all of it can know, tells them."""

    def pose(self, x, rng):
        question, answer, _ = super().pose(x, rng)
        return Puzzle(question, answer.sort().values)

    def solve(self, features, given):
        slot = torch.linspace(-1, 1, len(features.pooled), device=features.pooled.device)
        return self.head(features.pooled) + torch.stack((-slot, slot), 1) * self.head.weight.mean()


class SpoilsItsInput(Honest):
    def pose(self, x, rng):
        return super().pose(x.mul_(0.9), rng)


class SpoilsItsInputLate(Honest):
    def pose(self, x, rng):
        return Puzzle(x, torch.randint(2, (len(x),), generator=rng), given=x)

    def solve(self, features, given):
        return self.head(features.pooled + 0 * given.mul_(0.9).mean())


class TakesTorchsOwnChance(Honest):
    def pose(self, x, rng):
        labels = torch.randint(2, (len(x),))
        return Puzzle(x + labels[:, None, None, None].to(x.dtype), labels)


class IgnoresTheKey(Honest):
    def pose(self, x, rng):
        return super().pose(x, torch.Generator().manual_seed(0))


class OnlyFloat32(Honest):
    def pose(self, x, rng):
        question, answer, _ = super().pose(x, rng)
        return Puzzle(question + 0.01 * torch.rand(x.shape, generator=rng), answer)


class HeadOnlyFloat32(Honest):
    def solve(self, features, given):
        return torch.zeros(len(features.pooled), self.head.in_features) @ self.head.weight.T


class Detaches(Honest):
    def solve(self, features, given):
        return self.head(features.pooled.detach())


class StartsAtZero(Honest):
    """A blind guess, but with nothing for the backbone to learn from."""

    def __init__(self, backbone):
        super().__init__(backbone)
        nn.init.zeros_(self.head.weight)


class HasAnIdleParameter(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.idle = nn.Parameter(torch.zeros(3))


class PosesWithAGradient(Honest):
    def pose(self, x, rng):
        question, answer, _ = super().pose(x, rng)
        return Puzzle(question * self.head.weight.mean().sigmoid(), answer)


class ScoresWithAGradient(Honest):
    def grade(self, prediction, answer):
        return Grade(cross_entropy(prediction, answer).loss, {"accuracy": prediction.softmax(1).mean()})


class SharesAParameter(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.first = backbone.conv1[0].weight


class SharesMemory(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.register_buffer("first", backbone.conv1[0].weight.detach())


class HidesTheBackboneInAList(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.kept = [backbone]


class HidesALayerInAFunction(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.look = backbone.conv2.forward


class SubtractsTheBatchsMean(Honest):
    def solve(self, features, given):
        return self.head(features.pooled - features.pooled.mean(0))


class LosesTheItemsOfABatchOfOne(Honest):
    def solve(self, features, given):
        return self.head(features.pooled).squeeze()


class NeedsTwoItems(Honest):
    def solve(self, features, given):
        return self.head(features.pooled) + 0 * features.pooled[1, 0]


class CannotBePickled(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.squash = lambda x: x


class KeepsStateOutsideBuffers(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.secret = torch.randn(2).tolist()

    def solve(self, features, given):
        return self.head(features.pooled) * features.pooled.new_tensor(self.secret)


class Counts(Honest):
    """Poses differently each time, by a state of its own."""

    calls = 0

    def pose(self, x, rng):
        self.calls += 1
        question, answer, _ = super().pose(x, rng)
        return Puzzle(question + self.calls, answer)


class StartsSure(Honest):
    def __init__(self, backbone):
        super().__init__(backbone)
        nn.init.normal_(self.head.weight, std=30)


class IsWrongAboutChance(Honest):
    def chance(self):
        return blind_guess(4)


class ScoresOtherThanChance(Honest):
    def chance(self):
        return Grade(blind_guess(2).loss, {})


class GradesUpsideDown(Honest):
    def grade(self, prediction, answer):
        loss, scores = cross_entropy(prediction, answer)
        return Grade(-loss, scores)


class GradesWithoutTheAnswer(Honest):
    def grade(self, prediction, answer):
        return cross_entropy(prediction, torch.zeros_like(answer))


class CannotBeWon(Honest):
    def grade(self, prediction, answer):
        return cross_entropy(prediction.clamp(-1e-3, 0), answer)


class DestroysTheAnswer(Honest):
    def destroyed(self, puzzle, rng):
        return Puzzle(puzzle.question.roll(1, 0), puzzle.answer.roll(1, 0))


class DestroysNothing(Honest):
    def destroyed(self, puzzle, rng):
        return puzzle


class DestroysInPlace(Honest):
    def destroyed(self, puzzle, rng):
        return puzzle._replace(question=puzzle.question.zero_())


class DestroysTheShape(Honest):
    def destroyed(self, puzzle, rng):
        return puzzle._replace(question=puzzle.question[..., 1:])


class DestroysAnyhow(Honest):
    def destroyed(self, puzzle, rng):
        return puzzle._replace(question=torch.rand_like(puzzle.question))


@pytest.mark.parametrize(
    ("check", "culprit", "message"),
    [
        (testing.check_content_free, LeaksThroughAPixel, "leaks its answer"),
        (testing.check_content_free, LeaksThroughWhatIsGiven, "leaks its answer"),
        (testing.check_content_free, LeaksThroughTheBatch, "leaks its answer"),
        (testing.check_input_untouched, SpoilsItsInput, "pose changed its input"),
        (testing.check_input_untouched, SpoilsItsInputLate, "solve or grade changed the input"),
        (testing.check_chance_law, TakesTorchsOwnChance, "same key poses different puzzles"),
        (testing.check_chance_law, Counts, "same key poses different puzzles"),
        (testing.check_chance_law, IgnoresTheKey, "another key poses the same puzzle"),
        (partial(testing.check_chance_law, random=False), Honest, "though it should draw nothing at random"),
        (testing.check_dtype_and_device, OnlyFloat32, "question is torch.float32 where x is torch.bfloat16"),
        (testing.check_dtype_and_device, HeadOnlyFloat32, "cannot be solved in torch.bfloat16"),
        (testing.check_gradients, Detaches, "no gradient reaches the backbone"),
        (testing.check_gradients, StartsAtZero, "no gradient reaches the backbone"),
        (testing.check_gradients, HasAnIdleParameter, "no gradient reaches idle"),
        (testing.check_gradients, PosesWithAGradient, "question carries a gradient"),
        (testing.check_gradients, ScoresWithAGradient, "score 'accuracy' carries a gradient"),
        (testing.check_independence, SharesAParameter, "first is the backbone's own"),
        (testing.check_independence, SharesMemory, "first is the backbone's own"),
        (testing.check_independence, HidesTheBackboneInAList, "keeps a reference to the backbone:"),
        (testing.check_independence, HidesALayerInAFunction, "keeps a reference to the backbone's module 'conv2'"),
        (testing.check_copies, CannotBePickled, "no pickled copy can be made"),
        (testing.check_copies, KeepsStateOutsideBuffers, "its checkpoint predicts otherwise"),
        (testing.check_alone, SubtractsTheBatchsMean, r"item \d alone is predicted otherwise"),
        (testing.check_alone, LosesTheItemsOfABatchOfOne, r"shape \(2,\) alone and \(1, 2\) among others"),
        (testing.check_alone, NeedsTwoItems, "item 0 cannot be solved alone"),
        (testing.check_initial_loss, StartsSure, "the loss starts at"),
        (testing.check_initial_loss, IsWrongAboutChance, "the loss starts at 0.7.*, chance is 1.386"),
        (testing.check_initial_loss, ScoresOtherThanChance, "give both the same"),
        (testing.check_right_answer, GradesUpsideDown, "accuracy is 0 for the right answer"),
        (testing.check_right_answer, GradesWithoutTheAnswer, "grade ignores or inverts it"),
        (testing.check_destroyed, DestroysTheAnswer, "destroyed changed what is answer"),
        (testing.check_destroyed, DestroysNothing, "destroyed left the question as it was"),
        (testing.check_destroyed, DestroysInPlace, "destroyed changed the puzzle in place"),
        (testing.check_destroyed, DestroysTheShape, "destroyed changed the shape"),
        (testing.check_destroyed, DestroysAnyhow, "the same key destroys differently"),
        (testing.check_right_answer, CannotBeWon, "grade ignores or inverts it|grade or chance is off"),
    ],
)
def test_every_culprit_is_caught(check, culprit, message):
    arguments = (culprit, TinyNet()) if check is testing.check_independence else (culprit, TinyNet(), X)
    with pytest.raises(AssertionError, match=f"^{culprit.__name__}: .*({message})"):
        check(*arguments)
    if culprit not in (Honest, PosesWithAGradient):
        with pytest.raises(AssertionError):
            testing.check_task(culprit, TinyNet(), X)


class Controls(Honest):
    """With a control that rolls the images: no relation between a question and its answer is left."""

    def destroyed(self, puzzle, rng):
        shift = int(torch.randint(1, len(puzzle.answer), (), generator=rng))
        return puzzle._replace(question=puzzle.question.roll(shift, 0))


@pytest.mark.parametrize("task", [Honest, Controls])
def test_an_honest_task_passes(task):
    testing.check_task(task, TinyNet(), X)


def test_checking_changes_nothing_of_what_was_handed_in():
    net, x = TinyNet(), X.clone()
    before, chance = {name: t.clone() for name, t in net.state_dict().items()}, torch.get_rng_state()
    testing.check_gradients(Honest, net, x)
    testing.check_content_free(Honest, net, x, steps=2)
    testing.check_copies(Honest, net, x)
    assert torch.equal(torch.get_rng_state(), chance)
    assert torch.equal(x, X)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


class HiddenPixel(Task):
    """A regression without accuracy: tell the colour of a hidden pixel."""

    def __init__(self, backbone):
        super().__init__()
        self.head = nn.Linear(backbone.dim, 3)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, 0.5)

    def pose(self, x, rng):
        question = x.clone()
        question[:, :, 3, 3] = 0.5
        return Puzzle(question, x[:, :, 3, 3].clone())

    def solve(self, features, given):
        return self.head(features.pooled)

    def grade(self, prediction, answer):
        return Grade((prediction.float() - answer.float()).square().mean(), {})

    def chance(self):
        return Grade(torch.tensor(1 / 12), {})  # the variance of a colour that is uniform in [0, 1]

    def draw(self, puzzle, prediction):
        return [[Panel(image)] for image in puzzle.question]


def test_a_regression_without_chance_or_accuracy_passes():
    x = torch.rand(256, 3, 8, 8, generator=rng("cpu", "contract", "many"))
    testing.check_task(HiddenPixel, TinyNet(), x, random=False, kinds=("noise",))


class DividesByTheVariance(HiddenPixel):
    """Its errors count in variances of the colours: those of a rank's part, unless it asks for all."""

    shared = True

    def grade(self, prediction, answer):
        off = (prediction.float() - answer.float()).square().mean()
        return Grade(off / (ranks.var_mean(answer, (0, 1))[0] if self.shared else answer.var(correction=0)).mean(), {})


class ForgetsOtherRanks(DividesByTheVariance):
    shared = False


class GivesItsPartAway(HiddenPixel):
    """Tells its head the mean of the part."""

    def pose(self, x, rng):
        puzzle = super().pose(x, rng)
        return puzzle._replace(given=puzzle.answer.mean(0, keepdim=True))


def test_what_ranks_do_not_share_is_found():
    testing.check_ranks(DividesByTheVariance, TinyNet(), X)
    with pytest.raises(AssertionError, match=r"^ForgetsOtherRanks: the mean gradient of two ranks .* by 0\.\d+ of its"):
        testing.check_ranks(ForgetsOtherRanks, TinyNet(), X)
    with pytest.raises(
        AssertionError, match=r"^GivesItsPartAway: what is for all items of a batch differs between ranks"
    ):
        testing.check_ranks(GivesItsPartAway, TinyNet(), X)


def test_what_a_constant_image_tells_about_its_hidden_pixel_is_found():
    with pytest.raises(AssertionError, match=r"on constant alone, .* mode, the loss is"):
        testing.check_content_free(HiddenPixel, TinyNet(), X, kinds=("constant",))


class Pair(Backbone):
    """Two modalities, told apart by name."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({name: TinyNet() for name in ("left", "right")})
        self.dim, self.axes, self.stages = 32, "hw", {}

    def forward(self, x):
        return Features({}, torch.cat([net(x[name]).pooled for name, net in self.parts.items()], 1))


class Match(Honest):
    """Do the two belong together?"""

    def pose(self, x, rng):
        labels = torch.randint(2, (len(x["left"]),), generator=rng)
        other = x["right"].roll(1, 0)
        return Puzzle({**x, "right": torch.where(labels.bool()[:, None, None, None], x["right"], other)}, labels)


class MatchSpoils(Match):
    def pose(self, x, rng):
        x["right"].add_(0.1)
        return super().pose(x, rng)


def test_several_modalities_are_checked_like_one():
    x = {"left": X, "right": X.flip(-1)}
    testing.check_task(Match, Pair(), x)
    with pytest.raises(AssertionError, match="pose changed its input"):
        testing.check_task(MatchSpoils, Pair(), x)


def test_the_tolerance_is_what_the_docstring_says():
    """Four deviations of 2,048 coin flips are 4.4 %."""
    assert 4 * math.sqrt(0.25 / 2048) == pytest.approx(0.044, abs=0.001)

    class Lucky(Honest):
        def grade(self, prediction, answer):
            loss, _ = cross_entropy(prediction, answer)
            return Grade(loss, {"accuracy": torch.tensor(0.55)})

    class Plausible(Honest):
        def grade(self, prediction, answer):
            loss, _ = cross_entropy(prediction, answer)
            return Grade(loss, {"accuracy": torch.tensor(0.54)})

    testing.check_content_free(Plausible, TinyNet(), X, steps=1)
    with pytest.raises(AssertionError, match=r"accuracy is 0.550, chance 0.500 \(up to 0.544\)"):
        testing.check_content_free(Lucky, TinyNet(), X, steps=1)
