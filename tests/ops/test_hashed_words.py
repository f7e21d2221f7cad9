"""Texts as bytes and back, words whatever stands between them, and hashes that tell words and their letters' order."""

import pytest
import torch

from pretext.ops.words import as_bytes, as_texts, buckets, byte_table, byte_values, word_hashes

TABLE = byte_table()


def hashes(text, words=6, length=64):
    found, there = word_hashes(byte_values(as_bytes([text], length)), words, TABLE)
    return found[0][there[0]].tolist()


@pytest.mark.parametrize("text", ["", "a small red circle", "größe, 大きい", "x" * 64])
def test_a_text_comes_back_from_bytes_and_from_floats(text):
    x = as_bytes([text, "other"], 64)
    assert x.dtype == torch.uint8
    assert as_texts(x) == as_texts(x.float() / 255) == [text, "other"]
    assert torch.equal(byte_values(x), byte_values((x.float() / 255).double()))


def test_a_longer_text_ends_before_a_letter_that_does_not_fit():
    assert as_texts(as_bytes(["abcdef"], 4)) == ["abcd"]
    assert as_texts(as_bytes(["abcö"], 4)) == ["abc"]


def test_ascii_survives_bfloat16():
    """b / 255 is off by 2^-9 of itself at most, which is less than half a byte up to 127."""
    x = as_bytes(["".join(map(chr, range(32, 127)))], 128)
    assert torch.equal(byte_values((x.float() / 255).bfloat16()), byte_values(x))


def test_words_are_what_stands_between_anything_else():
    assert hashes("a red circle") == hashes("  A, Red... CIRCLE!") == [*hashes("a"), *hashes("red"), *hashes("circle")]
    assert hashes("") == hashes(" ,.") == []
    assert hashes("a b c d e f g h", words=3) == hashes("a b c")
    assert hashes("red", length=3) == hashes("red", length=50)


def test_words_of_other_letters_or_order_differ():
    words = ["red", "erd", "der", "dre", "re", "r", "redd", "rot", "größe", "grosse", "7", "77"]
    assert len({hashes(word)[0] for word in words}) == len(words)


def test_buckets_are_spread_evenly_and_independently():
    """10,000 words over 64 rows: chi squared of 63 degrees has a deviation of 11.2; pairs of choices likewise."""
    found = torch.cat([word_hashes(byte_values(as_bytes([f"w{k}" for k in range(10_000)], 8)), 1, TABLE)[0]])[:, 0]
    one, two = (buckets(found, 8, which) for which in range(2))
    assert min(one.min(), two.min()) == 0
    counts = (8 * one + two).bincount(minlength=64).double()
    expected = 10_000 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 4 * 11.2
