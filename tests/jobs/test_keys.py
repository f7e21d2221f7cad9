"""Keys: known answers, since names of files must not change from release to release, and what changes them."""

import os

from omegaconf import OmegaConf

from pretext.jobs.keys import environment_kept, here, key_of, with_contents


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


def test_what_the_environment_says_is_no_part_of_a_key_but_what_lies_there_is(tmp_path, monkeypatch):
    values = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.yaml").write_text("root: ${oc.env:SHELF}/set\nsize: ${oc.env:NO_SUCH,3}\ntwice: [1, '${size}']\n")
        monkeypatch.setenv("SHELF", str(folder))
        values.append(with_contents({"data": "${oc.env:SHELF}/a.yaml", "root": "${oc.env:SHELF}/no such file"}))
    size = "${oc.env:NO_SUCH,3}"
    content = {"root": "${oc.env:SHELF}/set", "size": size, "twice": [1, size]}
    known = {"data": ("${oc.env:SHELF}/a.yaml", content), "root": "${oc.env:SHELF}/no such file"}
    assert values == [known, known]
    assert here({"a": ["${oc.env:SHELF}/b", 3, size, "${other}"]}) == {"a": [f"{tmp_path}/there/b", 3, "3", "${other}"]}


def test_every_other_interpolation_is_one_still(monkeypatch):
    monkeypatch.setenv("SIZE", "3")
    written = {"a": "${b}/${oc.env:${c}}/${oc.env:SIZE}}", "b": "x", "c": "SIZE", "d": "${oc.decode:${oc.env:SIZE}}"}
    kept = OmegaConf.to_container(environment_kept(OmegaConf.create(written)), resolve=True)
    assert kept == {"a": "x/${oc.env:SIZE}/${oc.env:SIZE}}", "b": "x", "c": "SIZE", "d": 3}
    assert here(kept["a"]) == "x/3/3}"
