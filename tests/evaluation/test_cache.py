"""Features on disk: what is damaged or foreign is made anew, and nothing of it runs."""

import json
import os

import numpy as np
import pytest
import torch

from pretext.evaluation.cache import MARKER, cached

ROWS = {"features": torch.arange(6.0).view(3, 2), "index": torch.arange(3)}


class Payload:
    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def kept(folder):
    """Read what is kept, made of the rows where it is not; tell whether it was made."""
    made = []

    def chunks():
        made.append(True)
        yield {name: rows[:2] for name, rows in ROWS.items()}
        yield {name: rows[2:] for name, rows in ROWS.items()}

    columns = cached(folder, chunks())
    assert all(torch.equal(columns[name], rows) for name, rows in ROWS.items())
    return bool(made)


def cut(file):
    os.truncate(file, file.stat().st_size - 3)


DAMAGE = {
    "a file that is gone": lambda folder, mark: (folder / "0.npy").unlink(),
    "a file that is cut off": lambda folder, mark: cut(folder / "0.npy"),
    "an empty file": lambda folder, mark: (folder / "0.npy").write_bytes(b""),
    "objects, which NumPy would unpickle": lambda folder, mark: np.save(
        folder / "0.npy", np.array([Payload(mark)], dtype=object), allow_pickle=True
    ),
    "a list that is cut off": lambda folder, mark: (folder / MARKER).write_text('{"features": '),
    "an empty list": lambda folder, mark: (folder / MARKER).write_text("{}"),
    "a list of another kind": lambda folder, mark: (folder / MARKER).write_text("[1]"),
    "a file elsewhere": lambda folder, mark: elsewhere(folder),
}


def elsewhere(folder):
    np.save(folder.parent / "other.npy", np.zeros((3, 2)))
    (folder / MARKER).write_text(json.dumps({"features": "../other.npy", "index": "1.npy"}))


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_or_foreign_is_made_anew(name, tmp_path):
    folder, mark = tmp_path / "features", tmp_path / "mark"
    assert kept(folder)
    assert not kept(folder)
    DAMAGE[name](folder, mark)
    assert kept(folder)
    assert not kept(folder)
    assert not mark.exists()
