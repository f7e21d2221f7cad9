"""Make what lies here again, with the code of commit be181bd (see README.md); what is there already is made anew."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from shutil import rmtree

HOME = Path(__file__).resolve().parent
MADE = ("finished", "stopped", "videos_stopped", "tuned", "study", "suite", "pictures", "videos")
WRITTEN = 1_700_000_000 * 10**9  # ns: when the finished run's checkpoint was written, which names a cell of the suite
QUICK = ("--protocols", "linear", "knn", "low_label", "--dims", "32")
# Where workers die, and at which call. Of a run: with its first checkpoint. Of the study: after four controls and two
# searched candidates, of which two more wait. Of the suite: half-way through the training of its last entry.
CHECKPOINT, CANDIDATE = "pretext.callbacks.checkpoint:Checkpoint._save", "pretext.evolution.worker:_written"


def main() -> None:
    """Make everything, in an order in which each finds what it needs."""
    from folders import labelled_folder

    for name in MADE:
        rmtree(HOME / name, ignore_errors=True)
    pretext("fit", "-c", "digits.yaml", "--trainer.default_root_dir", "finished")
    os.utime(HOME / "finished" / "checkpoints" / "last.ckpt", ns=(WRITTEN, WRITTEN))
    pretext("predict", "finished")
    pretext("probe", "finished", *QUICK)
    pretext("fit", "-c", "tuned.yaml", "--trainer.default_root_dir", "tuned")
    pretext("test", "tuned")
    pretext("probe", "tuned", *QUICK)
    labelled_folder(HOME / "pictures", 12)
    pretext("fit", "-c", "pictures.yaml", "--trainer.default_root_dir", "stopped", dies=f"{CHECKPOINT} 1")
    pretext("fit", "-c", "videos.yaml", "--trainer.default_root_dir", "videos_stopped", dies=f"{CHECKPOINT} 1")
    pretext("evolve", "-c", "search.yaml", "--out", "study", dies=f"{CANDIDATE} 6")
    pretext("bench", "suite.yaml", "--out", "suite", dies=f"{CHECKPOINT} 3")
    clear()


def pretext(*words: str, dies: str = "") -> None:
    """Run a verb in a process of its own, which dies where `dies` says."""
    code = subprocess.run([sys.executable, __file__, dies, *words], cwd=HOME).returncode
    if code != (-signal.SIGKILL if dies else 0):
        raise SystemExit(f"pretext {' '.join(words)} ended with {code}")


def worker(dies: str, words: list[str]) -> int:
    """Run a verb here, on a machine without a name; kill this process behind a call."""
    from pretext.__main__ import main as verb

    socket.gethostname = lambda: "somewhere"
    if dies:
        place, count = dies.split()
        module, _, path = place.partition(":")
        *outer, name = path.split(".")
        owner = resolve_name(f"{module}:{'.'.join(outer)}" if outer else module)
        setattr(owner, name, deadly(getattr(owner, name), int(count)))
    return verb(words)


def deadly(call, count):
    """Return a function that kills its process behind its `count`-th call."""
    calls = []

    def last(*args, **options):
        result = call(*args, **options)
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return last


def clear() -> None:
    """Leave out what is drawn or made again from what is kept, and this machine's paths."""
    for kind in ("*.lock", "*.html", "*.png"):
        for path in HOME.rglob(kind):
            path.unlink()
    for name in ("pictures", "videos", "finished/features", "tuned/features"):
        rmtree(HOME / name)
    config = HOME / "tuned" / "config.yaml"  # the one file in which a path is made absolute
    config.write_text(config.read_text().replace(f"{HOME}/", ""))
    names = [name.encode() for name in (str(HOME), str(Path.home()), f"{socket.gethostname()}:")]
    for file in (path for path in HOME.rglob("*") if path.is_file()):
        if any(name in file.read_bytes() for name in names):
            raise SystemExit(f"{file} names this machine")


if __name__ == "__main__":
    sys.exit(worker(sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else main())
