"""What a process does when it is asked to go: real processes, real signals."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, signal, sys, time
from pretext.core.stop import STOP
send = lambda name, pid=os.getpid(): os.kill(pid, getattr(signal, name))
with STOP.listen():
"""


def python(body, *args):
    """Run lines inside `STOP.listen()`; return the exit code and what was printed."""
    lines = BEGIN + "\n".join(f"    {line}" for line in body.strip().splitlines())
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", lines, *args], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_it_leaves_with_128_and_the_signals_number_and_cleans_up(name):
    code, said = python("try:\n    send(sys.argv[1])\nfinally:\n    print('clean')", name)
    assert (code, said) == (128 + getattr(signal, name), ["clean"])


def test_who_holds_signals_back_leaves_when_he_is_ready_and_the_first_one_counts():
    code, said = python(
        "STOP.held = True\nsend('SIGUSR1')\nsend('SIGTERM')\nprint('saved')\nSTOP.check()\nprint('never')"
    )
    assert (code, said) == (128 + signal.SIGUSR1, ["saved"])


def test_a_child_made_by_fork_ends_when_it_is_terminated_and_ignores_what_groups_are_sent():
    code, said = python(
        """
heard, tell = os.pipe()
child = os.fork()
if not child:
    for name in ("SIGUSR1", "SIGUSR2"):
        send(name, os.getpid())
    os.write(tell, b"works")
    time.sleep(60)
print(os.read(heard, 5).decode())
send("SIGTERM", child)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert (code, said) == (0, ["works", str(-signal.SIGTERM)])
