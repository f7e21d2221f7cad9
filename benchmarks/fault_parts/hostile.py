"""What somebody else may have written: checkpoints, caches, studies, results, configs, names. Nothing of it may run."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from schedule import Answer, Clock, Part, Question

from fault_parts.pages import names, results
from fault_parts.place import Payload, Place, must, shortened
from fault_parts.setting import Setting, of_pictures

ABOUT = "what others may have written"
VERBS = {
    "fit": ["--trainer.max_epochs", "3"],
    "validate": [],
    "test": [],
    "predict": [],
    "show": [],
    "probe": ["--protocols", "knn"],
    "export": ["--to", "safetensors"],
    "report": [],
}
NO_CHECKPOINT = ("report",)  # verbs that read none and end well


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [Question("payloads work", partial(payloads_work, setting))]
    asked += [
        Question(f"checkpoint: {verb}", partial(checkpoint, setting, verb))
        for verb in setting.size([*VERBS], ["validate"])
    ]
    rest: dict[str, Callable[..., Answer]] = {
        "weights of another project": weights,
        "YAML tags": yaml_tags,
    }
    if not setting.small:
        rest |= {
            "checkpoint: names of classes": class_names,
            "cache of features": features,
            "cache of pictures": canvases,
            "study": study,
            "files of results": results,
            "names, on every page": names,
        }
    asked += [Question(name, partial(ask, setting)) for name, ask in rest.items()]
    return Part("hostile", ABOUT, 1.0, lambda: asked, table)


def payloads_work(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Show that the payload leaves its mark where somebody unpickles it, or nothing below would say anything.

    Raises:
        AssertionError: it does not.

    """
    place = Place(setting, "control")
    pickle.loads(pickle.dumps(Payload(place.mark)))
    if not place.mark.exists():
        raise AssertionError("the payload does nothing")
    return {"answer": "unpickled by hand, it leaves its mark"}


def checkpoint(setting: Setting, verb: str, clock: Clock, before: Answer) -> Answer:
    """Put a checkpoint with a payload into a run, as torch saves and as a plain pickle, and call a verb."""
    said = ""
    for plain in (False, True):
        place = Place(setting, f"checkpoint-{verb}-{plain}").trained()
        file = place.run / "checkpoints" / "last.ckpt"
        content = torch.load(file, weights_only=True) | {"payload": Payload(place.mark)}
        if plain:
            file.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, file)
        code, said = place.call(verb, place.run, *VERBS[verb])
        if (code == 0) != (verb in NO_CHECKPOINT):
            raise AssertionError(f"exit code {code}: {said}")
    return {"answer": shortened(said, setting)}


def class_names(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Let a checkpoint's hyper-parameters name a class of a module that leaves a mark when it is imported."""
    place = Place(setting, "class-names").trained()
    (place.home / "evil.py").write_text(f"open({str(place.mark)!r}, 'w').close()\nclass Evil: pass\n")
    file, evil = place.run / "checkpoints" / "last.ckpt", {"class_path": "evil.Evil"}
    content = torch.load(file, weights_only=True)
    content["hyper_parameters"] = {"backbone": evil, "tasks": {"other": evil}, "seed": 7}
    torch.save(content | {"datamodule_hyper_parameters": {"_class_path": "evil.Evil"}}, file)
    for verb, more in VERBS.items():
        code, said = place.call(verb, place.run, *more)
        if code:
            raise AssertionError(f"{verb}: {said}")
    return {"answer": f"not read by {', '.join(VERBS)}"}


def weights(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Give a probe the state dict of another project, with a payload in it."""
    place = Place(setting, "weights")
    data = ["--data", "datamodules.ImageFolder", "--data.root", setting.pictures(), "--data.canvas", "32"]
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "args": Payload(place.mark)}, place.home / "evil.pth")
    spec = ["--backbone", "torchvision:resnet18", "--weights", "evil.pth"]
    code, said = place.call("probe", *spec, *data)
    if not code:
        raise AssertionError("it was taken")
    return {"answer": shortened(said, setting)}


def yaml_tags(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Put tags into every YAML that is read: a config, a suite, a run's own config."""
    place, said = Place(setting, "tags"), ""
    tags = [
        f"!!python/object/apply:os.system ['touch {place.mark}']",
        f"!!python/object/new:os.system ['touch {place.mark}']",
        "!!python/name:os.system",
        "!!python/module:os",
        f"!!python/object/apply:subprocess.check_output [['touch', '{place.mark}']]",
    ]
    (place.home / "run").mkdir()
    runs = [(verb, "run") for verb in ("fit", "validate", "report", "probe")]
    for tag in setting.size(tags, tags[:1]):
        (place.home / "evil.yaml").write_text(f"model: {tag}\ndata: {tag}\n")
        shutil.copy(place.home / "evil.yaml", place.home / "run" / "config.yaml")
        for words in [
            *((verb, "-c", "evil.yaml") for verb in ("fit", "evolve", "show")),
            ("bench", "evil.yaml"),
            *runs,
        ]:
            code, line = place.call(*words)
            if not code and words[0] != "report":
                raise AssertionError(f"{words} took {tag}")
            said = line if words[0] == "fit" else said
    return {"answer": shortened(said, setting)}


def features(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Replace what is kept of features by arrays of objects that hold a payload, and by paths that lead elsewhere."""
    place = Place(setting, "features").trained()
    probe = ("probe", place.run, "--protocols", "knn")
    must(place.home, *probe)
    markers = sorted(place.run.rglob("complete.json"))
    if not markers:
        raise AssertionError("nothing is kept")
    evil = np.array([Payload(place.mark)], dtype=object)
    for marker in markers:
        for file in marker.parent.glob("*.npy"):
            np.save(file, evil, allow_pickle=True)
    _, said = place.call(*probe)
    np.save(place.home / "elsewhere.npy", evil, allow_pickle=True)
    for marker in markers:
        marker.write_text(json.dumps(dict.fromkeys(json.loads(marker.read_text()), str(place.home / "elsewhere.npy"))))
    place.call(*probe)
    return {"answer": shortened(said, setting)}


def canvases(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Flip bits in, and cut off, what is kept of decoded pictures; training must end well or say why not."""
    place, codes = Place(setting, "canvases"), []
    cache, chance = place.home / "cache", np.random.default_rng([setting.seed, 13])
    config = setting.write("hostile-cache", of_pictures(setting.pictures(), cache, 1))
    for k in range(12):
        code, said = place.call("fit", "-c", config, "--trainer.default_root_dir", place.home / f"run{k}")
        codes.append(code)
        if code:
            raise AssertionError(said)
        for file in [*cache.rglob("kept.index"), *cache.rglob("kept.data")]:
            data = bytearray(file.read_bytes())
            if k % 3 == 2:
                data = data[: int(chance.integers(0, len(data)))]
            for at in chance.integers(0, max(1, len(data)), 8).tolist() if data else []:
                data[at] ^= 1 << int(chance.integers(8))
            file.write_bytes(data)
    return {"answer": f"{len(codes)} trainings ended well"}


def study(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Write a payload where Optuna keeps the state of CMA-ES, let a candidate be drawn, and name evil classes."""
    place = Place(setting, "study")
    config = of_pictures(setting.pictures(), None, 1)
    config["evolve"] = {
        "candidates": 10,
        "steps": 1,
        "items": 20,
        "searcher": "cmaes",
        "population": 4,
        "fitness": {"class_path": "pretext.evaluation.fitness.EffectiveRank"},
    }
    config["model"]["tasks"]["split"] = {"class_path": "pretext.Contrast", "init_args": {"outputs": 4}}
    (place.home / "evil.py").write_text(f"open({str(place.mark)!r}, 'w').close()\nclass Evil: pass\n")
    command = ("evolve", "-c", setting.write("hostile-study", config), "--out", place.home / "study")
    must(place.home, *command)
    file = place.home / "study" / "study.db"
    with sqlite3.connect(file) as base:
        (last,) = base.execute("select max(trial_id) from trials").fetchone()
        payload = json.dumps(pickle.dumps(Payload(place.mark)).hex())
        for (trial,) in base.execute("select trial_id from trials").fetchall():
            base.execute(
                "insert into trial_system_attributes (trial_id, key, value_json) values (?, 'cma:optimizer:0', ?)",
                (trial, payload),
            )
        for name in ("trial_params", "trial_values"):
            base.execute(f"delete from {name} where trial_id = ?", (last,))
        base.execute("update trials set state = 'WAITING', datetime_complete = null where trial_id = ?", (last,))
    place.call(*command)
    with sqlite3.connect(file) as base:
        (drawn,) = base.execute("select count(*) from trial_params where trial_id = ?", (last,)).fetchone()
        if not drawn:
            raise AssertionError("no candidate was drawn anew")
        (settings,) = base.execute("select value_json from study_user_attributes where key = 'settings'").fetchone()
        evil = json.loads(settings)
        evil["evolve"]["fitness"] = {"class_path": "evil.Evil"}
        evil["model"]["backbone"] = {"class_path": "evil.Evil"}
        base.execute("update study_user_attributes set value_json = ? where key = 'settings'", (json.dumps(evil),))
    code, said = place.call(*command)
    if not code:
        raise AssertionError("a study of other settings was joined")
    return {"answer": f"a candidate drawn from plain numbers; then: {shortened(said, setting)}"}


def table(answers: dict[str, Answer]) -> list[str]:
    """Say what each was answered with."""
    lines = ["| what | answer | code executed |", "|---|---|---|"]
    for name, answer in answers.items():
        said = str(answer.get("answer", answer.get("error", ""))).replace("|", "\\|")
        ran = "no" if "answer" in answer else "see the answer"
        lines.append(f"| {name} | {said} | {ran if name != 'payloads work' else 'yes'} |")
    return lines
