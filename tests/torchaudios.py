"""torchaudio as a reference, where it can be loaded: its last release refuses to beside torch for another CUDA."""

import pytest

try:
    import torchaudio
except (ImportError, OSError, RuntimeError):
    torchaudio = None

needs_torchaudio = pytest.mark.skipif(torchaudio is None, reason="torchaudio cannot be loaded beside this torch")
