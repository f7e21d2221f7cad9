import pytest
import torch
from tolerance import assert_rounded

from pretext.core.rng import rng
from pretext.evaluation.adaptation import aligned, gap_closed, readout, subspace_alignment


@pytest.mark.parametrize(
    ("accuracy", "source_only", "on_target", "published"),
    [(0.8149, 0.5749, 0.9891, 57.9), (0.9048, 0.8665, 0.9244, 66.1), (0.8866, 0.7400, 0.9987, 56.7)],
)
def test_the_share_of_the_gap_is_that_of_the_published_table(accuracy, source_only, on_target, published):
    assert 100 * gap_closed(accuracy, source_only, on_target) == pytest.approx(published, abs=0.06)


def test_where_there_is_no_gap_no_share_is_told():
    assert gap_closed(0.9, 0.9, 0.9) is None
    assert gap_closed(0.9, 0.9, 0.8) is None
    assert gap_closed(0.5, 0.6, 0.8) == pytest.approx(-0.5)


def features(count=200, dims=6, key=0):
    chance = rng("cpu", "adaptation", key)
    spread = torch.tensor([1.0 / (1 + k) for k in range(dims)])
    return torch.randn(count, dims, generator=chance) @ torch.randn(dims, dims, generator=chance) * spread


def standard(x):
    return (x - x.mean(0)) / x.std(0, correction=0)


class TestAlignment:
    def test_of_one_domain_with_itself_is_its_principal_components(self):
        x = features()
        found = subspace_alignment(x, x, 3)
        assert_rounded(found.source, found.target(x), 400, 20)
        z = standard(x)
        values = torch.linalg.eigvalsh(z.T @ z / len(z)).flip(0)[:3]
        assert_rounded(found.source.square().mean(0), values, 400, 20)

    def test_the_turn_is_the_least_squares_answer(self):
        x, y = features(key=1), features(key=2)
        found = subspace_alignment(x, y, 3)
        z = standard(x)
        _, vectors = torch.linalg.eigh(z.T @ z)
        axes = vectors.flip(1)[:, :3]
        turn = torch.linalg.lstsq(axes, found.axes).solution
        assert_rounded(found.source, z @ axes @ turn, 400, 20)

    def test_with_all_dimensions_nothing_is_left_but_standardisation(self):
        x, y = features(key=1), features(key=2)
        found = subspace_alignment(x, y, 6)
        assert_rounded(found.source @ found.axes.T, standard(x), 400, 20)
        assert_rounded(found.target(y) @ found.axes.T, standard(y), 400, 20)

    def test_more_dimensions_than_items_are_refused(self):
        with pytest.raises(ValueError, match="dims=7; give 1 to 6"):
            subspace_alignment(features(), features(), 7)


def two_classes(count, shift, key):
    chance = rng("cpu", "classes", key)
    y = torch.randint(2, (count,), generator=chance)
    x = torch.randn(count, 6, generator=chance)
    x[:, 0] += 6.0 * y - 3
    return x + shift, y


def test_a_domain_that_is_shifted_is_read_after_alignment_and_not_before():
    """All features are moved by a constant: each domain's own standardisation undoes it."""
    (x, y), (t, _), (test, answers) = two_classes(200, 0.0, 0), two_classes(200, 9.0, 1), two_classes(200, 9.0, 2)
    plain, better = readout(x, y, t, test), aligned(x, y, t, test)
    assert float((plain.predictions == answers).double().mean()) < 0.7
    assert float((better.predictions == answers).double().mean()) > 0.95
    assert better.dims == 5  # of 6 features none of the others fits
    assert 0 <= better.told.entropy <= 1


def test_a_readout_never_sees_the_order_of_the_targets_items():
    (x, y), (t, _), (test, _) = two_classes(100, 0.0, 0), two_classes(100, 1.0, 1), two_classes(50, 1.0, 2)
    order = torch.randperm(100, generator=rng("cpu", 0))
    one, other = readout(x, y, t, test, 3), readout(x, y, t[order], test, 3)
    assert torch.equal(one.predictions, other.predictions)
