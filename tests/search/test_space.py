"""What is searched: architectures drawn by chance alone, configs that are built, one way to choose for all."""

from collections import Counter

import pytest
from optuna import create_study
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler

import pretext
from pretext.backbones.genotype import OPERATIONS, genotype_of
from pretext.search.space import CellSpace, ResNetSpace, Space, WeightSpace, draw, suggest
from pretext.training.run import build

CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}, "split": {"class_path": "pretext.Counting"}},
    }
}
SPACES = [CellSpace(width=2, cells=3), ResNetSpace(), WeightSpace({"turn": (0.25, 1.0)})]


@pytest.mark.parametrize("space", SPACES[:2], ids=lambda s: type(s).__name__)
def test_drawn_architectures_differ_and_do_not_depend_on_how_many_are_drawn(space):
    drawn = draw(space, 40, seed=3)
    assert len({tuple(point.items()) for point in drawn}) == 40
    assert drawn[:7] == draw(space, 7, seed=3)
    assert drawn[:7] != draw(space, 7, seed=4)
    for name, among in space.choices().items():
        assert {point[name] for point in drawn} <= set(among.choices)


def test_cells_are_sampled_as_the_paper_does():
    """Operation and input of each of eight edges on their own and uniformly, `none` and equal edges included."""
    drawn = draw(CellSpace(), 500, seed=0)
    operations = Counter(point[name] for point in drawn for name in point if name.endswith("operation"))
    count = 500 * 16
    bound = 4 * (count * (1 / 8) * (7 / 8)) ** 0.5
    assert set(operations) == set(OPERATIONS)
    assert all(abs(n - count / 8) < bound for n in operations.values())
    inputs = Counter(point["reduce 5 second input"] for point in drawn)
    assert set(inputs) == {0, 1, 2, 3, 4}
    assert all(abs(n - 100) < 4 * (500 * 0.2 * 0.8) ** 0.5 for n in inputs.values())


@pytest.mark.parametrize("space", SPACES, ids=lambda s: type(s).__name__)
def test_every_space_is_searched_by_one_machinery_and_makes_a_config_that_is_built(space):
    assert isinstance(space, Space)
    study = create_study(sampler=RandomSampler(seed=0))
    choice = suggest(space, study.ask())
    assert study.trials[0].params == choice
    assert study.trials[0].distributions == space.choices()
    module, _ = build(space.configured(CONFIG, choice))
    if isinstance(space, WeightSpace):
        assert module.weighting.weights == {"split": 1.0, **choice}
    if isinstance(space, CellSpace):
        wiring = genotype_of(module.backbone.genotype)
        assert wiring.normal[3] == (choice["normal 3 second operation"], choice["normal 3 second input"])
        assert (module.backbone.width, module.backbone.cells) == (2, 3)
    if isinstance(space, ResNetSpace):
        assert isinstance(module.backbone, pretext.ResNet)
        assert module.backbone.blocks == [choice[f"blocks {i}"] for i in (1, 2, 3)]
        assert (module.backbone.width, module.backbone.kernels[2]) == (choice["width"], choice["kernel 3"])


def test_a_config_is_not_changed_by_what_is_made_of_it():
    space = ResNetSpace()
    space.configured(CONFIG, draw(space, 1, 0)[0])
    assert CONFIG["model"]["backbone"] == {"class_path": "nets.TinyNet"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CellSpace(operations=[]), r"CellSpace: operations=\[\]; an empty space"),
        (lambda: CellSpace(operations=["conv"]), r"CellSpace: unknown operations \['conv'\]; choose among none, max"),
        (lambda: CellSpace(nodes=0), "CellSpace: nodes=0"),
        (lambda: ResNetSpace(widths=[]), r"ResNetSpace: widths=\[\].*an empty space"),
        (lambda: ResNetSpace(stages=0), "ResNetSpace: stages=0"),
        (
            lambda: draw(ResNetSpace([4], [1], [3, 5], 1), 3, 0),
            "draw: 3 points of ResNetSpace, which has 2",
        ),
        (lambda: draw(SPACES[2], 3, 0), "draw: WeightSpace has continuous choices"),
    ],
)
def test_what_is_no_space_is_named_in_one_line(make, said):
    with pytest.raises(ValueError, match=said) as told:
        make()
    assert "\n" not in str(told.value)


def test_the_whole_of_a_space_can_be_drawn():
    space = ResNetSpace([4], [1, 2], [3, 5], 1)
    assert len(draw(space, 4, 0)) == 4
    assert all(isinstance(among, CategoricalDistribution) for among in space.choices().values())
