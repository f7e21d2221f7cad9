"""Keys: known answers, since names of files must not change from release to release, and what changes them."""

import os

from pretext.jobs.keys import key_of, with_contents


def test_a_key_is_known():
    assert key_of() == "6b500cbb"
    assert key_of(3, "a", [1.5, {"b": None}]) == "48abc737"
    assert key_of((3,)) != key_of(3)


def test_of_a_yaml_the_content_counts_and_of_other_files_size_and_date(tmp_path):
    config, weights = tmp_path / "a.yaml", tmp_path / "a.pth"
    config.write_text("a: ${b}\nb: 2  # a comment\n")
    weights.write_bytes(b"123")
    os.utime(weights, ns=(5, 7))
    value = {"config": str(config), "more": (str(weights), 3, "no such file", "two\nlines")}
    assert with_contents(value) == {
        "config": (str(config), {"a": 2, "b": 2}),
        "more": [(str(weights), 3, 7), 3, "no such file", "two\nlines"],
    }
