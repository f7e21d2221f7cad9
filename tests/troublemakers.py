"""Files whose decoder does what they say, for tests of the processes that decode; workers import this module."""

import ctypes
import errno
import os
import signal
import time
from pathlib import Path

import numpy as np

from datamodules.decoder import Decoder
from datamodules.decoding import worker
from datamodules.errors import DataError
from datamodules.file_source import FileSource
from datamodules.options import Reading

LEAK = []
CAUSES = {  # what a file says -> what it is said to have done
    "segfault": "the decoder crashed (signal 11)",
    "abort": "the decoder crashed (signal 6)",
    "kill": "the decoder crashed (signal 9)",
    "exit": "the decoder exited (status 3)",
    "eat": "needs more than 0.5 GiB of memory",
    "raise": "no good",
}


class Unwritable:
    """Writes rows, but not the first time."""

    def __init__(self, mark, write):
        self.mark, self.write = mark, write

    def __call__(self, *args):
        if not self.mark.exists():
            self.mark.touch()
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        self.write(*args)


class Troublemakers(Decoder):
    """Row k of a file that says "k"; the others do what they say."""

    def __init__(self, shared_out=True):
        self.shared_out = shared_out

    def settings(self):
        return ()

    def facts(self, name, label, state):
        return (name, state)

    def blank(self, rows, pick):
        return {"rgb": np.empty((rows, 2), np.uint8)}

    def kept(self):
        return ()

    def load(self, file, position, pick, rows, keep):
        text = file.read_text()
        if text.isdigit():
            rows["rgb"][:] = int(text)
        elif text.startswith("slow"):
            time.sleep(0.3)
            rows["rgb"][:] = int(text.split()[1])
        elif text.startswith("once"):  # goes down the first time only, as if another file had broken the process
            mark = Path(file.parent, "done")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGSEGV)
            rows["rgb"][:] = int(text.split()[1])
        elif text.startswith("full"):  # the rows of its job cannot be written the first time
            rows["rgb"][:] = int(text.split()[1])
            worker._write_rows = Unwritable(Path(file.parent, "done"), worker._write_rows)
        else:
            trouble(text)


def trouble(text):
    if text == "segfault":
        ctypes.string_at(0)
    elif text == "abort":
        os.abort()
    elif text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "exit":
        os._exit(3)
    elif text == "eat":
        while True:
            LEAK.append(np.ones(2**24))
    elif text == "hang":
        while True:
            time.sleep(60)
    raise DataError("no good")


def source(folder, texts, told, workers=2, seconds=60.0, shared_out=True, max_bad=0.9):
    """Write a file for each text and open them."""
    for k, text in enumerate(texts):
        (folder / f"{k}.txt").write_text(text)
    names = [f"{k}.txt" for k in range(len(texts))]
    reading = Reading(workers, max_bad, time_limit=seconds, memory_limit=0.5)
    return FileSource(folder, names, None, Troublemakers(shared_out), reading, told.update)
