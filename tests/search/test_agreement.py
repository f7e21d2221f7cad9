"""Whether a worker may join a study, also one that release 0.1 made: by what is meant, not by how it is written."""

import copy
import json

import pytest
from omegaconf import OmegaConf

from pretext.search.agreement import disagreements
from pretext.search.settings import read_search

CONFIG = OmegaConf.to_container(
    OmegaConf.create("""
model:
  backbone: {class_path: nets.TinyNet}
  tasks:
    turn: {class_path: pretext.Rotation}
    split: {class_path: pretext.Contrast, init_args: {outputs: 8}}
  augment: {class_path: pretext.Augment, init_args: {crop: 12}}
  optim: {warmup: 0.1}
data: {class_path: datamodules.ImageFolder, init_args: {root: /here/images}}
trainer: {max_epochs: 2}
evolve:
  steps: 7
  probe_data: {class_path: datamodules.ImageFolder, init_args: {root: /here/labelled}}
  fitness: {class_path: pretext.evaluation.fitness.Zipf, init_args: {k: 5}}
""")
)


@pytest.fixture
def search():
    return read_search(copy.deepcopy(CONFIG), [])


def kept(search):
    """Settings as a database keeps them."""
    return json.loads(json.dumps(search.shared))


def test_a_search_agrees_with_itself(search):
    assert disagreements(search, kept(search), kept(search)) == []


def test_a_study_of_release_0_1_is_joined_though_paths_and_options_have_moved_since(search):
    old = kept(search)
    old["model"]["tasks"]["turn"]["class_path"] = "pretext.tasks.rotation.Rotation"
    old["model"]["augment"]["class_path"] = "pretext.augment.Augment"
    old["model"] |= old["model"].pop("optim")  # warmup and the like stood beside the backbone
    assert "warmup" in old["model"]
    assert disagreements(search, kept(search), old) == []


def test_what_differs_in_such_a_study_is_still_named(search):
    old = kept(search)
    old["model"] |= old["model"].pop("optim") | {"warmup": 0.2}
    old["evolve"]["fitness"]["init_args"]["k"] = 6
    told = disagreements(search, kept(search), old)
    assert told == [
        "evolve.fitness.init_args.k is 5 here, but 6 in the study",
        "model.optim.warmup is 0.1 here, but 0.2 in the study",
    ]


def test_an_option_that_the_study_left_out_has_its_default_there(search):
    old = kept(search)
    del old["data"]["init_args"]["batch_size"]
    assert disagreements(search, kept(search), old) == []
    larger = read_search(copy.deepcopy(CONFIG), ["--data.batch_size=9"])
    (told,) = disagreements(larger, kept(larger), old)
    assert told.startswith("data.init_args.batch_size is 9 here, but ")


def test_settings_that_this_release_cannot_read_are_compared_as_they_stand(search):
    old = kept(search)
    old["model"]["backbone"]["class_path"] = "gone.Net"
    (told,) = disagreements(search, kept(search), old)
    assert told.endswith('but "gone.Net" in the study')


@pytest.mark.parametrize("place", ["class path", "word"])
def test_what_a_study_names_is_not_imported(search, place, tmp_path, monkeypatch):
    """Whoever can write to a study must not be able to run code in its workers, not even that of importing a module."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    old = kept(search)
    old["evolve"]["fitness"] = {"class_path": "evil.Evil", "init_args": {}} if place == "class path" else "evil.Evil"
    assert any("evil.Evil" in told for told in disagreements(search, kept(search), old))
    assert not mark.exists()
