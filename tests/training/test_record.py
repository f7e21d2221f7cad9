"""What a run says of itself."""

import importlib.metadata

import pytest

import pretext
from pretext.training.callbacks import record


def test_a_checkout_that_is_not_installed_knows_its_version(monkeypatch):
    version = importlib.metadata.version

    def uninstalled(name):
        if name.startswith("pretext"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(record, "version", uninstalled)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        record.version("pretext-tasks")
    assert record.environment()["pretext"] == pretext.__version__
