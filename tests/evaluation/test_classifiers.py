import pytest
import torch
from sklearn.metrics import accuracy_score

from pretext.backbones.nin import NIN
from pretext.evaluation.classifiers import ConvHead, LinearHead, MLPHead, head
from pretext.evaluation.embed import coarse
from pretext.evaluation.statistics.average_precision import mean_average_precision
from pretext.evaluation.statistics.intervals import wilson
from pretext.evaluation.supervision import Tally, by_index, occurrences, supervised_loss


def stage(*shape, key=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(key))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


class TestLinearHead:
    @pytest.mark.parametrize(
        ("shape", "dims"),
        [
            ((64, 112, 112), 9216),  # a ResNet-50 at 224 px: 12 x 12, 6 x 6, 4 x 4, 3 x 3 and 2 x 2 cells, as in VISSL
            ((256, 56, 56), 9216),
            ((512, 28, 28), 8192),
            ((1024, 14, 14), 9216),
            ((2048, 7, 7), 8192),
            ((2048,), 2048),
        ],
    )
    def test_reads_as_many_values_as_in_goyal_et_al(self, shape, dims):
        assert LinearHead(shape, 10).dims == dims

    def test_is_a_linear_map_of_what_the_embedding_pools_to(self):
        classify, seen = LinearHead((4, 6, 6), 3, dims=16), stage(5, 4, 6, 6)
        classify.norm.running_mean.copy_(stage(16, key=1))
        classify.norm.running_var.copy_(stage(16, key=2).square() + 1)
        z = (coarse(seen, 16) - classify.norm.running_mean) / (classify.norm.running_var + classify.norm.eps).sqrt()
        torch.testing.assert_close(classify.eval()(seen), z @ classify.linear.weight.T + classify.linear.bias)

    def test_training_does_not_see_the_scale_or_offset_of_a_stage(self):
        classify, seen = LinearHead((4, 3, 3), 3), stage(32, 4, 3, 3)
        torch.testing.assert_close(classify(seen), classify(1000 * seen - 7), rtol=1e-3, atol=1e-5)

    def test_begins_at_the_published_deviation(self):
        classify = LinearHead((2048, 7, 7), 100)
        assert float(classify.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.01)
        assert not classify.linear.bias.any()

    def test_the_largest_of_a_cell_instead_of_its_mean(self):
        classify, seen = LinearHead((2, 6, 6), 3, dims=18, pool="max").eval(), stage(5, 2, 6, 6)
        cells = seen.view(5, 2, 3, 2, 3, 2).amax((3, 5)).flatten(1)
        z = cells / (1 + classify.norm.eps) ** 0.5
        torch.testing.assert_close(classify(seen), z @ classify.linear.weight.T)
        with pytest.raises(ValueError, match="pool='max' belongs to head 'linear', got 'mlp'"):
            head("mlp", (2, 6, 6), 3, pool="max")
        with pytest.raises(ValueError, match="head 'conv' reads the whole map, got dims=18"):
            head("conv", (2, 6, 6), 3, 18)

    def test_refuses_another_grid(self):
        with pytest.raises(ValueError, match=r"LinearHead was built for a stage of shape \(4, 6, 6\), got \(4, 5, 6\)"):
            LinearHead((4, 6, 6), 3)(stage(5, 4, 5, 6))


class TestRotNetsClassifiers:
    def test_mlp_has_the_papers_sizes_on_its_second_block(self):
        classify = MLPHead((192, 8, 8), 10)
        assert classify.dims == 12_288
        assert parameters(classify) == 12_288 * 200 + 2 * 200 + 200 * 200 + 2 * 200 + 200 * 10 + 10
        assert MLPHead((8,), 1000).layers[0].out_features == 2048  # ImageNet's 1,000 classes

    def test_the_whole_map_of_the_first_block_is_read_if_asked(self):
        assert head("mlp", (96, 16, 16), 10, "whole").dims == 24_576
        assert head("mlp", (96, 16, 16), 10).dims == 96 * 11 * 11
        assert head("linear", (96, 16, 16), 10, 96).dims == 96

    def test_weights_begin_at_hes_deviation_by_the_number_of_outputs(self):
        mlp, conv = MLPHead((192, 8, 8), 10), ConvHead((192, 8, 8), 10)
        for layer, outputs in ((mlp.layers[0], 200), (mlp.layers[3], 200), (mlp.layers[6], 10), (conv.linear, 10)):
            assert float(layer.weight.detach().std()) == pytest.approx((2 / outputs) ** 0.5, rel=0.1)
        assert not mlp.layers[6].bias.any()
        assert not conv.linear.bias.any()
        assert float(conv.block[0].weight.detach().std()) == pytest.approx((2 / (9 * 192)) ** 0.5, rel=0.1)

    def test_mlp_of_a_huge_stage_stays_small(self):
        assert MLPHead((64, 112, 112), 10).dims == 64 * 13 * 13

    def test_conv_is_the_third_block_of_the_papers_network(self):
        classify, net = ConvHead((192, 8, 8), 10), NIN(blocks=3)
        assert parameters(classify) == parameters(net.blocks["conv3"]) + 192 * 10 + 10
        third = net.blocks["conv3"].eval()
        weights = dict(zip(classify.block.state_dict(), third.state_dict().values(), strict=True))
        classify.block.load_state_dict(weights)
        seen = stage(2, 192, 8, 8)
        expected = classify.linear(third(seen).mean((2, 3)))
        torch.testing.assert_close(classify.eval()(seen), expected)

    @pytest.mark.parametrize("grid", [(9,), (5, 4), (3, 5, 4)])
    def test_conv_reads_sounds_pictures_and_clips(self, grid):
        classify = head("conv", (6, *grid), 7).eval()
        seen = stage(2, 6, *grid)
        assert classify(seen).shape == (2, 7)
        mirrored = seen.flip(2)  # the mean over the grid does not know where things are, but 3 cells know their order
        assert not torch.allclose(classify(seen), classify(mirrored))

    def test_conv_needs_a_grid_and_names_are_checked(self):
        with pytest.raises(ValueError, match=r"ConvHead: a stage of shape \(8,\) has no grid"):
            head("conv", (8,), 3)
        with pytest.raises(ValueError, match="head got 'forest'; choose one of linear, mlp, conv"):
            head("forest", (8,), 3)


def test_classifiers_compute_in_float32_under_autocast():
    for kind in ("linear", "mlp", "conv"):
        classify, seen = head(kind, (4, 3, 3), 3).eval(), stage(5, 4, 3, 3)
        with torch.autocast("cpu", torch.bfloat16):
            low = classify(seen)
        assert torch.equal(low, classify(seen))


class TestLosses:
    def test_of_one_class_is_cross_entropy(self):
        assert float(supervised_loss(torch.zeros(4, 10), torch.arange(4))) == pytest.approx(
            torch.log(torch.tensor(10.0))
        )

    def test_of_several_is_the_mean_of_what_is_judged(self):
        logits, y = stage(6, 3), torch.tensor([[1, 0, -1]] * 6, dtype=torch.int8)
        p = logits.sigmoid()
        expected = -(p[:, 0].log() + (1 - p[:, 1]).log()).mean() / 2
        torch.testing.assert_close(supervised_loss(logits, y), expected)
        logits.requires_grad_()
        supervised_loss(logits, y).backward()
        assert not logits.grad[:, 2].any()
        assert logits.grad[:, :2].all()

    def test_smoothing_is_least_at_the_smoothed_answer(self):
        for y, wanted in ((torch.tensor([[1, 0]]), [0.9, 0.1]), (torch.tensor([0]), None)):
            logits = torch.zeros(1, 2, requires_grad=True)
            optimizer = torch.optim.LBFGS([logits], max_iter=100)

            def closure(logits=logits, y=y, optimizer=optimizer):
                optimizer.zero_grad()
                loss = supervised_loss(logits, y, 0.2)
                loss.backward()
                return loss

            optimizer.step(closure)
            found = logits.sigmoid() if wanted else logits.softmax(1)
            torch.testing.assert_close(found.detach(), torch.tensor([wanted or [0.9, 0.1]]), rtol=1e-3, atol=1e-3)

    def test_labels_of_another_shape_are_refused(self):
        with pytest.raises(ValueError, match=r"labels of shape \(2, 4\) do not fit scores \(2, 3\)"):
            supervised_loss(torch.zeros(2, 3), torch.zeros(2, 4))


class TestTally:
    def test_counts_as_scikit_learn_does_over_batches_of_any_size(self):
        scores, y, tally = stage(50, 4), torch.arange(50) % 4, Tally()
        for rows in torch.arange(50).split(7):
            tally.add(scores[rows], y[rows])
        scored = tally.scored()
        assert scored.value == pytest.approx(accuracy_score(y, scores.argmax(1)))
        assert (scored.low, scored.high) == wilson(round(50 * scored.value), 50)
        assert (scored.measure, scored.items) == ("accuracy", 50)

    def test_several_labels_get_their_mean_average_precision(self):
        scores, tally = stage(40, 3), Tally()
        y = (stage(40, 3, key=1) > 0).to(torch.int8)
        y[::7, 1] = -1
        for rows in torch.arange(40).split(9):
            tally.add(scores[rows], y[rows])
        expected = mean_average_precision(scores, y)
        assert tally.scored() == ("map", expected.value, expected.low, expected.high, 40)
        assert tally.value().value == pytest.approx(expected.value)

    def test_chance_is_what_a_constant_answer_gets(self):
        y = torch.tensor([0, 1, 1, 1, 2])
        tally = Tally()
        tally.add(torch.zeros(5, 3), y)
        commonest = occurrences(torch.tensor([2, 2, 1]), 3)  # class 2, of train
        assert tally.chance(commonest) == pytest.approx(0.2)
        several, labels = Tally(), torch.tensor([[1, 0], [0, 1], [-1, 0], [0, 0]], dtype=torch.int8)
        several.add(torch.zeros(4, 2), labels)
        assert several.chance(occurrences(labels, 2)) == pytest.approx((1 / 3 + 1 / 4) / 2) == several.scored().value
        assert occurrences(labels, 2).tolist() == [1, 1]

    def test_nothing_to_score_is_an_error(self):
        with pytest.raises(ValueError, match="no item was scored"):
            Tally().scored()


def test_rows_of_one_item_are_averaged():
    scores = torch.tensor([[1.0, 0], [3, 2], [5, 5], [0, 1], [0, 2], [0, 6]])
    y, index = torch.tensor([4, 4, 1, 2, 2, 2]), torch.tensor([7, 7, 8, 3, 3, 3])
    means, labels = by_index(scores, y, index)
    assert means.tolist() == [[2, 1], [5, 5], [0, 3]]
    assert labels.tolist() == [4, 1, 2]
    alone = by_index(scores, y, torch.arange(6))
    assert torch.equal(alone[0], scores)
