"""Files of tensors: what is broken is told in one line, and a full disk leaves what was there."""

import contextlib
import errno
import pickle
import resource
import signal
import threading

import pytest
import torch

from pretext.cli.parser import one_line
from pretext.core.checkpoint_file import read_checkpoint, write_checkpoint
from pretext.core.threads import told_in_a_line


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond a size, as on a disk that is full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", {"w": torch.arange(5.0), "step": 3})
    for mmap in (False, True):
        content = read_checkpoint(tmp_path / "a.ckpt", mmap=mmap)
        assert content["step"] == 3
        assert torch.equal(content["w"], torch.arange(5.0))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_told_in_one_line(share, tmp_path):
    file = tmp_path / "a.ckpt"
    write_checkpoint(file, {"w": torch.rand(1000)})
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"a\.ckpt is not a whole checkpoint \(.*copy it again") as error:
        read_checkpoint(file)
    assert "\n" not in str(error.value)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save(torch.rand(2), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"holds a Tensor, but a checkpoint is a dict"):
        read_checkpoint(tmp_path / "a.ckpt")
    torch.save({"f": print}, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=r"b\.ckpt holds print, and code from a file is never run"):
        read_checkpoint(tmp_path / "b.ckpt")
    (tmp_path / "c.ckpt").write_bytes(pickle.dumps({"step": 1}))  # no file of torch's
    for mmap in (False, True):
        with pytest.raises(ValueError, match=r"c\.ckpt is not a whole checkpoint"):
            read_checkpoint(tmp_path / "c.ckpt", mmap=mmap)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_full_disk_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.ckpt"
    write_checkpoint(file, {"step": 1})
    with full_disk(10_000), pytest.raises(OSError, match=r"a\.ckpt cannot be written|File too large"):
        write_checkpoint(file, {"w": torch.rand(100_000), "step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert read_checkpoint(file) == {"step": 1}


def test_a_thread_that_a_full_disk_ends_says_so_in_a_line(capsys):
    def write():
        raise OSError(errno.ENOSPC, "No space left on device")

    with told_in_a_line():
        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
    assert capsys.readouterr().err == "a thread that writes has ended: [Errno 28] No space left on device\n"
    frozen = OSError(errno.EROFS, "Read-only file system", b"/run/.report.html.123.draft")
    assert one_line(frozen).startswith("Read-only file system (/run/report.html): nothing can be written there")
    said = one_line(OSError(errno.ENOSPC, "No space left on device"))
    assert said == "No space left on device: make room and call it again; what was saved before is whole"
