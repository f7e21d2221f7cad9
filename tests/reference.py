"""Published tables that results are checked against; they are not part of this repository."""

import os
from pathlib import Path

import pytest

REFERENCE = Path(os.environ.get("PRETEXT_REFERENCE", Path(__file__).resolve().parents[2] / "shared" / "reference"))
TASKONOMY = REFERENCE / "taskonomy"
GRAPHS = REFERENCE / "graphs"

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"published tables are not at {REFERENCE}")
