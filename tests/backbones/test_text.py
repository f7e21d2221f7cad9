"""Text: what it reads of a text, and what it does not."""

import pytest
import torch
from tolerance import NETWORK, assert_rounded

from pretext.backbones.text import Text
from pretext.ops.words import as_bytes


def texts(*said, length=64):
    return as_bytes(said, length).float() / 255


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Text(width=16, depth=2, heads=2, words=6, rows=128).eval()


def test_it_is_described_by_its_stages(net):
    features = net(texts("a red circle", "two"))
    assert {name: x.shape[1] for name, x in features.stages.items()} == net.stages
    assert list(net.stages) == ["words", "block1", "block2"]
    assert features.pooled.shape == (2, net.dim)


def test_padding_case_and_what_else_is_in_the_batch_do_not_matter(net):
    alone = net(texts("a red circle", length=12)).pooled
    assert_rounded(alone, net(texts("A Red, circle", length=100)).pooled, NETWORK)
    assert_rounded(alone, net(texts("a red circle", "one two three four five")).pooled[:1], NETWORK)


def test_the_order_of_words_matters_to_blocks_and_not_to_the_words(net):
    two = net(texts("red on blue", "blue on red"))
    assert_rounded(*two.stages["words"], NETWORK)
    assert not torch.allclose(*two.pooled, atol=1e-3)


def test_an_empty_text_has_features_too(net):
    features = net(texts("", "one"))
    assert features.pooled.isfinite().all()
    assert not features.stages["words"][0].any()


def test_words_beyond_the_last_are_not_read(net):
    assert_rounded(*net(texts("a b c d e f", "a b c d e f g h")).pooled, NETWORK)


@pytest.mark.parametrize(("options", "message"), [({"width": 10}, "heads that divide"), ({"words": 0}, "words=0")])
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"Text: .*{message}"):
        Text(**options)


def test_pictures_are_no_texts(net):
    with pytest.raises(ValueError, match=r"Text wants texts \(N, 1, L\), got \(2, 3, 8, 8\)"):
        net(torch.rand(2, 3, 8, 8))
