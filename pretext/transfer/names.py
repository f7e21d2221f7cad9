"""Names and defaults of completing a table, for help texts that import nothing slow."""

METHODS = (
    "source_mean",
    "low_rank",
    "gae",
    "vgae",
    "source_target_gae",
    "source_target_vgae",
    "gravity_gae",
    "gravity_vgae",
)
DEFAULT = "low_rank"
REFITS = 20
"""On entries drawn with replacement, for the interval of a prediction."""
