"""The verbs of the command line, one file each."""

VERBS = {  # verb -> its file in `pretext.cli`, imported when it is asked for, so that `pretext --help` answers at once
    **dict.fromkeys(("fit", "validate", "test", "predict"), "fit"),
    **{verb: verb for verb in ("show", "audit", "probe", "compare", "bench", "evolve", "transfer", "nas", "reproduce")},
    **{verb: verb for verb in ("report", "export", "cluster", "runs")},
    **dict.fromkeys(("tasks", "data", "backbones"), "classes"),
    "configs": "configs",
    "completion": "completion",
}
