"""A suite of tasks to predict, on digits: four known ones and one without labels."""

import yaml

TASKS = {
    "denoising": {"task": {"class_path": "pretext.Denoising"}},
    "edges": {"task": {"class_path": "pretext.Edges"}},
    "inpainting": {"task": {"class_path": "pretext.Inpainting", "init_args": {"channels": 4, "width": 8, "ups": 1}}},
    "light": {"task": {"class_path": "pretext.SplitBrain", "init_args": {"stride": 1}}, "sees": "colour", "part": 1},
}


def suite_file(folder, **changes):
    content = {
        "network": {"class_path": "nets.TinyNet", "init_args": {"width": 4}},
        "data": {"data": "datamodules.Digits", "data.size": 16},
        "tasks": TASKS | {"unlabelled": {}},
        "targets": ["edges", "unlabelled"],
        "width": 4,
        "training": {"models": 2, "subset": 60, "steps": 3, "batch": 20},
        "correlations": {"table": str(folder / "table.csv"), "scale": "linear", "items": 20, "steps": 1},
        "regression": {"hidden": 8, "steps": 2, "batch": 10, "consistency": [0.0, 0.5]},
        "few": 10,
        "few_steps": 1,
        "items": 100,
        "test_items": 40,
    } | changes
    rows = [f"{a},{b},{(7 * i + 3 * j) % 5}" for i, a in enumerate(TASKS) for j, b in enumerate(content["tasks"])]
    (folder / "table.csv").write_text("\n".join(["sources,target,value", *rows]))
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump(content))
    return file
