"""The gradient that learns to learn: closed forms, laws, and that nothing but the examples reaches an answer."""

import copy

import pytest
import torch
from nets import TinyNet
from tolerance import rounding
from torch.nn.functional import cross_entropy, mse_loss

from pretext import MAML, MLP, Informed, MetaLearner, SequenceLearner, Sound
from pretext.training.execution import Execution
from pretext.training.meta.informed import SCALE, prepare
from pretext.training.meta.learner import Episodes, Network, Spec
from pretext.training.meta.scores import figures, grade

KINDS = [MAML(steps=2), MAML(steps=2, learned_rates=True), MAML(first_order=True)]


def scalar(learner, theta=2.0, h=3.0, c=1.5):
    """The outer gradient of a network of one number whose loss is h (theta - c)^2 / 2, in examples and questions."""
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)

    def call(values, x):
        return values["backbone.theta"].expand(len(x), 1)

    episodes = Episodes(*[torch.zeros(1, 1, 1, dtype=torch.float64)] * 4)
    answers = learner.answer(
        Network({"backbone.theta": theta}, call), episodes, lambda said, _: 0.5 * h * (said - c).square().mean()
    )
    (slope,) = torch.autograd.grad(0.5 * h * (answers.after - c).square().mean(), theta)
    return float(slope)


def test_the_outer_gradient_is_the_closed_form():
    assert scalar(MAML(steps=1, rate=0.1)) == pytest.approx(0.735, abs=1e-12)  # (1 - a h)^2 h (theta - c)
    assert scalar(MAML(steps=1, rate=0.1, first_order=True)) == pytest.approx(
        1.05, abs=1e-12
    )  # (1 - a h) h (theta - c)
    assert scalar(MAML(steps=2, rate=0.1)) == pytest.approx(0.7**4 * 1.5, abs=1e-12)
    assert scalar(MAML(steps=1, rate=0.1, vectorize=False)) == pytest.approx(0.735, abs=1e-12)


def host(learner, backbone=None, outputs=3, facts=0, dtype=torch.float64):
    torch.manual_seed(0)
    module = MetaLearner(backbone=TinyNet(4) if backbone is None else backbone, learner=learner)
    torch.manual_seed(1)
    learner.begin(module.backbone, Spec(module.backbone.dim, outputs, facts))
    return module.to(dtype)


def drawn(episodes=3, outputs=3, facts=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def x(rows):
        return torch.rand(episodes, rows, 3, 8, 8, generator=generator, dtype=dtype)

    def y(rows):
        return torch.arange(rows).remainder(outputs).expand(episodes, rows)

    known = torch.rand(episodes, facts, generator=generator, dtype=dtype) if facts else None
    return Episodes(x(2 * outputs), y(2 * outputs), x(4 * outputs), y(4 * outputs), known)


def slopes(module, episodes):
    """The mean loss of the questions, and its gradient by the name of each parameter."""
    loss = figures(module._answers(episodes), episodes)["loss"].mean()
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return float(loss.detach()), {name: slope for name, slope in zip(named, found, strict=True) if slope is not None}


def assert_near(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, slope in one.items():
        torch.testing.assert_close(slope, other[name], rtol=0, atol=tolerance * float(1 + slope.abs().max()))


@pytest.mark.parametrize("learner", KINDS, ids=lambda one: one.describe() + " rates" * one.learned_rates)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_all_episodes_at_once_are_as_one_after_the_other(learner, dtype, tolerance):
    """In float32 slopes are sums of some 10^3 terms that went through five passes: 4 sqrt(10^4) eps, 5e-5, each 1."""
    together = host(copy.deepcopy(learner), dtype=dtype)
    alone = host(copy.deepcopy(learner), dtype=dtype)
    alone.learner.vectorize = False
    (loss, found), (other, expected) = (slopes(module, drawn(dtype=dtype)) for module in (together, alone))
    assert loss == pytest.approx(other, abs=rounding(1, 1000, dtype))
    assert_near(found, expected, tolerance)


def test_sounds_are_learnt_at_once_too():
    """Their pictures are made by a function that vmap cannot batch: torch looks at one after the other."""
    found = []
    for vectorize in (True, False):
        torch.manual_seed(0)
        net = Sound(TinyNet(4), rate=2000, bands=8, window=0.05, hop=0.05)
        module = host(MAML(steps=1, rate=0.1, vectorize=vectorize), net, dtype=torch.float32)
        sounds = torch.rand(2, 12, 1, 1000, generator=torch.Generator().manual_seed(0))
        y = torch.arange(6).remainder(3).expand(2, 6)
        found.append(module._answers(Episodes(sounds[:, :6], y, sounds[:, 6:], y)).after)
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)


def test_at_a_rate_of_0_it_is_plain_multitask_training():
    module, episodes = host(MAML(steps=3, rate=0.0)), drawn()
    loss, found = slopes(module, episodes)
    answers = module(episodes.query.flatten(0, 1))
    plain = cross_entropy(answers, episodes.query_y.flatten())
    named = dict(module.named_parameters())
    expected = dict(zip(named, torch.autograd.grad(plain, list(named.values())), strict=True))
    assert loss == pytest.approx(float(plain.detach()), abs=1e-12)
    assert_near(found, expected, 1e-10)


def test_the_outer_gradient_is_that_of_a_plain_unrolled_step():
    """Second order against autograd's own; first order against the gradient at the place where the step ended."""
    module, episodes = host(MAML(steps=1, rate=0.3)), drawn(episodes=1)
    named = dict(module.named_parameters())
    loss = cross_entropy(module(episodes.support[0]), episodes.support_y[0])
    steps = torch.autograd.grad(loss, list(named.values()), create_graph=True)
    moved = {name: p - 0.3 * step for (name, p), step in zip(named.items(), steps, strict=True)}
    said = torch.func.functional_call(module, moved, (episodes.query[0],))
    after = cross_entropy(said, episodes.query_y[0])
    second = dict(zip(named, torch.autograd.grad(after, list(named.values()), retain_graph=True), strict=True))
    first = dict(zip(named, torch.autograd.grad(after, list(moved.values())), strict=True))
    assert_near(slopes(module, episodes)[1], second, 1e-10)
    module.learner.first_order = True
    assert_near(slopes(module, episodes)[1], first, 1e-10)
    assert any((second[name] - first[name]).abs().max() > 1e-4 for name in named)


@pytest.mark.parametrize("vectorize", [True, False])
def test_task_informed_with_scale_1_and_shift_0_is_maml(vectorize):
    plain = host(MAML(steps=2, rate=0.1, vectorize=vectorize))
    informed = host(MAML(steps=2, rate=0.1, vectorize=vectorize, informed=Informed(dropout=0.0)), facts=4)
    informed.learner.head.load_state_dict(plain.learner.head.state_dict())
    episodes = drawn(facts=4)
    assert torch.equal(informed._answers(episodes).after, plain._answers(episodes).after)
    found = slopes(informed, episodes)[1]
    own = {name: slope for name, slope in found.items() if "informed" not in name}
    assert all(torch.equal(slope, own[name]) for name, slope in slopes(plain, episodes)[1].items())
    assert any(slope.abs().max() > 0 for name, slope in found.items() if "informed.read" in name)  # and it can learn


def test_scale_and_shift_are_those_of_each_episode_and_stay_while_it_is_learnt():
    net = MLP(1, (4, 4))
    assert prepare(net) == {"layers.0": 4, "layers.1": 4}
    x = torch.linspace(-1, 1, 5)[:, None]
    before = net(x).stages["layer1"]
    changed = torch.func.functional_call(net, {f"layers.0.{SCALE}": torch.tensor([2.0, 1, 1, 0])}, (x,))
    torch.testing.assert_close(changed.stages["layer1"], before * torch.tensor([2.0, 1, 1, 0]))
    assert torch.equal(net(x).stages["layer1"], before)
    assert not [name for name in net.state_dict() if "task" in name]  # others load its weights as ever


def test_well_learned_tasks_are_forgotten_and_others_are_not():
    informed = Informed(forget_above=0.9, look_back=3)
    facts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    for _ in range(3):
        assert informed.counted(facts, torch.tensor([1.0, 0.8, 0.95])).tolist() == [1, 1, 1]
    assert informed.counted(facts, torch.tensor([0.1, 1.0, 1.0])).tolist() == [0, 1, 0]
    again = Informed(forget_above=0.9, look_back=3)
    again.load(informed.state())
    assert again.counted(facts, torch.tensor([0.1, 1.0, 1.0])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("learner", [MAML(steps=2), SequenceLearner("gru", 8), SequenceLearner("transformer", 8, 2)])
def test_answers_depend_on_the_examples_and_not_on_other_questions(learner):
    module, episodes = host(copy.deepcopy(learner)), drawn()
    whole = module._answers(episodes).after
    half = episodes._replace(query=episodes.query[:, :5], query_y=episodes.query_y[:, :5])
    torch.testing.assert_close(module._answers(half).after, whole[:, :5], rtol=0, atol=1e-9)
    one = episodes._replace(**{name: part[:1] for name, part in episodes._asdict().items() if part is not None})
    torch.testing.assert_close(module._answers(one).after, whole[:1], rtol=0, atol=1e-9)
    other = episodes._replace(support_y=episodes.support_y.flip(1))
    assert (module._answers(other).after - whole).abs().max() > 1e-6


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_a_sequence_learner_names_an_example_from_those_before_it(kind):
    module, episodes = host(SequenceLearner(kind, 8, 2)), drawn()
    along = module._answers(episodes).along
    y = episodes.support_y.clone()
    y[:, 3] = (y[:, 3] + 1) % 3
    changed = module._answers(episodes._replace(support_y=y)).along
    assert torch.equal(changed[:, :4], along[:, :4]) or (changed[:, :4] - along[:, :4]).abs().max() < 1e-12
    assert (changed[:, 4:] - along[:, 4:]).abs().flatten(1).max(1).values.min() > 1e-6
    found = figures(module._answers(episodes), episodes)["loss"]
    every = torch.cat([along, module._answers(episodes).after], 1)
    right = torch.cat([episodes.support_y, episodes.query_y], 1)
    torch.testing.assert_close(found, torch.stack([grade(a, b) for a, b in zip(every, right, strict=True)]))


def test_values_are_graded_by_their_squared_error():
    x = torch.rand(2, 4, 1)
    assert float(grade(x[0], x[1])) == pytest.approx(float(mse_loss(x[0], x[1])))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: MAML(steps=0), "MAML: steps=0, test_steps=None; a rate needs steps: give 1 or more"),
        (lambda: MAML(test_steps=0), "a rate needs steps"),
        (lambda: MAML(rate=-1.0), "MAML: rate=-1.0; give 0 or more"),
        (lambda: Informed(look_back=0), "Informed: .*look_back=0"),
        (lambda: Informed().begin(TinyNet(), 0), "Informed: data without metadata; name a file of it"),
        (lambda: SequenceLearner(width=6), "SequenceLearner: width=6"),
        (lambda: MetaLearner(), "MetaLearner: run=None, backbone=None; give --model.run RUN or --model.backbone CLASS"),
        (lambda: MetaLearner(backbone=TinyNet(), norm="layer"), "MetaLearner: norm='layer'; choose one of group"),
        (lambda: MetaLearner(backbone=TinyNet(), execution=Execution(compile=True)), "compile=True; leave it out"),
        (
            lambda: MetaLearner(backbone=TinyNet(), execution=Execution(cuda_graphs=True)),
            "cuda_graphs=True; leave it out",
        ),
        (lambda: MLP(widths=()), r"MLP: inputs=1, widths=\(\)"),
        (lambda: MLP()(torch.zeros(2, 3)), r"MLP wants rows \(N, 1\), got \(2, 3\)"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(make, told):
    with pytest.raises(ValueError, match=told):
        make()
