"""Clips per second: our decoder against torchcodec and torchvision's VideoClips way, on the same files and times.

    python benchmarks/clips.py --root DIR      (or PRETEXT_DATA=DIR; it holds lrwar/videos/*.mp4)

A clip is `--frames` successive frames from a random start of a file that is opened for it; its centre square is resized
once, antialiased, to the canvas. Contenders take turns, file lists and starts are the same for all, ratios are taken
within a repeat; the median is given with the smallest and the largest. Every file is read once before, so that the disk
plays no part. Threads are Python's, one decoder each. torchcodec is no dependency: install it for this benchmark only
(`pip install --no-deps torchcodec`, and FFmpeg's libraries), or it is left out.

Last come the data module itself (batches of windows, by its own threads: decoded, then from its cache), the memory that
2,000 clips leave behind, and the time to the first batch of 100,000 files (links to the same ones).

torchvision has no video reader any more; "VideoClips" is what its own did: stamps of all frames are read beforehand
(not timed), then the keyframe is sought, frames are decoded to the clip's end, each converted to RGB by itself, and
those of the clip are stacked.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from torch.nn.functional import interpolate

from datamodules import Clips, Disk, Lists, Reading, Splitting, Windows
from datamodules.media.video import Video

try:
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchcodec.samplers import clips_at_random_indices
except ImportError:
    VideoDecoder = None

RATE = 16_000
FPS = 25.0  # of these files

Clip = Callable[[Path, float, int, int], np.ndarray]
"""From a file, a share of the way to its last possible start, the number of frames and the canvas: (T, 3, S, S)."""


def begin_of(share: float, begin: float, end: float, frames: int) -> float:
    """Choose the start of a clip."""
    return begin + round(share * ((end - begin) * FPS - frames)) / FPS


def ours(path: Path, share: float, frames: int, canvas: int, sound: bool = False) -> np.ndarray:
    """Read a clip with our decoder."""
    with Video(path) as video:
        begin = begin_of(share, video.begin, video.end, frames)
        if sound:
            video.samples(begin, round(frames / FPS * RATE), RATE)
        return video.frames(begin + np.arange(frames) / FPS, canvas)


def resized(x: torch.Tensor, canvas: int) -> np.ndarray:
    """Resize the centre square of (T, 3, H, W) where it has another size."""
    side = min(x.shape[-2:])
    top, left = (x.shape[-2] - side) // 2, (x.shape[-1] - side) // 2
    x = x[..., top : top + side, left : left + side]
    if side != canvas:
        x = interpolate(x, (canvas, canvas), mode="bilinear", antialias=True)
    return x.numpy()


def codec_times(path: Path, share: float, frames: int, canvas: int, sound: bool = False) -> np.ndarray:
    """Read a clip with torchcodec: the frames on show at the same times."""
    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
    about = decoder.metadata
    begin = begin_of(share, about.begin_stream_seconds, about.end_stream_seconds, frames)
    if sound:
        track = AudioDecoder(str(path), sample_rate=RATE, num_channels=1)
        track.get_samples_played_in_range(begin, begin + frames / FPS)
    return resized(decoder.get_frames_played_at((begin + 1e-4 + np.arange(frames) / FPS).tolist()).data, canvas)


def codec_sampler(path: Path, share: float, frames: int, canvas: int) -> np.ndarray:
    """Read a clip with torchcodec's sampler, which chooses a start of its own."""
    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1)
    return resized(clips_at_random_indices(decoder, num_clips=1, num_frames_per_clip=frames).data[0], canvas)


def video_clips(stamps: dict[Path, list[int]], path: Path, share: float, frames: int, canvas: int) -> np.ndarray:
    """Read a clip the way of torchvision's VideoClips."""
    first = round(share * (len(stamps[path]) - frames))
    begin, end = stamps[path][first], stamps[path][first + frames - 1]
    kept = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        container.seek(begin, stream=stream)
        for frame in container.decode(stream):
            kept[frame.pts] = frame
            if frame.pts >= end:
                break
        pictures = [kept[pts].to_ndarray(format="rgb24") for pts in sorted(kept) if begin <= pts <= end]
    return resized(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), canvas)


def stamps_of(path: Path) -> list[int]:
    """Read the stamps of all frames without decoding."""
    with av.open(str(path)) as container:
        return sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)


def speed(clip: Clip, files: list[Path], shares: list[float], frames: int, canvas: int, threads: int) -> float:
    """Time one pass over the files, clips per second."""
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        for x in pool.map(lambda path, share: clip(path, share, frames, canvas), files, shares):
            assert x.shape == (frames, 3, canvas, canvas)
        return len(files) / (time.perf_counter() - start)


def spread(values: list[float], digits: int) -> str:
    """Write a median with its smallest and largest value."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def compare(contenders: dict[str, Clip], files: list[Path], options: argparse.Namespace, canvas: int) -> None:
    """Let contenders take turns and print a table; the ratio is to the first of them."""
    rng = np.random.default_rng(0)
    for threads in (1, 2):
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.repeats):
            shares = rng.random(len(files)).tolist()
            for name, clip in contenders.items():
                speeds[name].append(speed(clip, files, shares, options.frames, canvas, threads))
        base = speeds[next(iter(contenders))]
        for name, mine in speeds.items():
            ratio = spread([a / b for a, b in zip(mine, base, strict=True)], 2)
            print(f"| {name} | {canvas} | {threads} | {spread(mine, 0)} | {ratio} |", flush=True)


def differences(files: list[Path], options: argparse.Namespace, canvas: int) -> None:
    """Say how far pictures are from FFmpeg's RGB resized once: ours, and those resized while converting."""
    largest, means = np.zeros(2), np.zeros(2)
    for path in files:
        with av.open(str(path)) as container:
            frames = [frame for _, frame in zip(range(options.frames), container.decode(video=0), strict=False)]
        full = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        wanted = resized(torch.from_numpy(full).permute(0, 3, 1, 2), canvas).astype(int)
        with Video(path) as video:
            mine = video.frames(np.array([frame.time for frame in frames]), canvas)
        fast = [frame.reformat(canvas, canvas, "rgb24").to_ndarray().transpose(2, 0, 1) for frame in frames]
        for i, x in enumerate((mine, np.stack(fast))):
            gap = np.abs(x - wanted)
            largest[i], means[i] = max(largest[i], gap.max()), means[i] + gap.mean() / len(files)
    for name, most, mean in zip(("ours", "resized while converting"), largest, means, strict=True):
        print(f"| {name} | {canvas} | {most:.0f} | {mean:.3f} |")


def resident() -> float:
    """Tell the memory that this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(files: list[Path], options: argparse.Namespace) -> None:
    """Print what is held after more and more clips, pictures and sound, read by two threads."""
    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(2) as pool:
        for done in range(0, 2001, 250):
            if done:
                chosen = [files[i] for i in rng.integers(0, len(files), 250)]
                tuple(pool.map(lambda p, s: ours(p, s, options.frames, 256, True).sum(), chosen, rng.random(250)))
            print(f"| {done} | {resident():,.0f} |", flush=True)


def whole_module(root: Path, options: argparse.Namespace) -> None:
    """Print how many windows a second the data module yields, pass after pass."""
    lists = Lists(train_list="labels.csv", columns={"file": "file", "split": "split"})
    for modalities in (("rgb",), ("rgb", "audio"), ("rgb", "grey", "flow", "audio")):
        with TemporaryDirectory() as folder:
            limit, workers = options.files, os.cpu_count()
            data = Clips(
                root,
                "lists",
                modalities,
                canvas=112,
                windows=Windows(frames=options.frames, fps=16),
                lists=lists,
                reading=Reading(workers=workers, max_bad=1),
                split=Splitting(limit=limit),
                disk=Disk(cache=folder),
            )
            for epoch, what in enumerate(("decoded, and kept", "from the cache")):
                loader, count = data.train_dataloader(), 0
                loader.set_epoch(epoch)
                start = time.perf_counter()
                for batch in loader:
                    count += len(batch["index"])
                speed = count / (time.perf_counter() - start)
                print(f"| {', '.join(modalities)} | {what} | {speed:,.0f} |", flush=True)


def first_batch(files: list[Path], count: int = 100_000) -> None:
    """Print how long the data module takes from nothing to its first batch of so many files."""
    with TemporaryDirectory() as folder:
        for i in range(count):
            home = Path(folder) / f"class{i % 100}"
            home.mkdir(exist_ok=True)
            (home / f"{i}.mp4").symlink_to(files[i % len(files)].resolve())
        start = time.perf_counter()
        data = Clips(folder, windows=Windows(frames=16, fps=16))
        data.setup("fit")
        next(iter(data.train_dataloader()))
        print(f"\nfirst batch of {count:,} files after {time.perf_counter() - start:.1f} s")


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("PRETEXT_DATA"), help="folder that holds lrwar")
    for name, default in {"files": 200, "frames": 16, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.root is None or not (folder := Path(options.root) / "lrwar" / "videos").is_dir():
        parser.error("name the folder that holds lrwar with --root or PRETEXT_DATA")
    torch.set_num_threads(1)
    files = sorted(folder.glob("*.mp4"))[: options.files]
    contenders: dict[str, Clip] = {"VideoClips": partial(video_clips, {path: stamps_of(path) for path in files})}
    heard: dict[str, Clip] = {}
    if VideoDecoder is not None:
        contenders |= {"torchcodec, sampler": codec_sampler, "torchcodec, times": codec_times}
        heard["torchcodec, and sound"] = partial(codec_times, sound=True)
    contenders["ours"], heard["ours, and sound"] = ours, partial(ours, sound=True)
    print(f"    {shlex.join(['python', *sys.argv]).replace(options.root, 'DIR')}\n")
    print(f"torch {torch.__version__}, PyAV {av.__version__}, {os.cpu_count()} cores, {len(files)} files\n")
    print("| reader | canvas | threads | clips/s | ratio |\n|---|---|---|---|---|")
    for canvas in (256, 112):
        compare(contenders, files, options, canvas)
    compare(heard, files, options, 256)
    print("\n| pictures | canvas | largest difference | mean |\n|---|---|---|---|")
    differences(files[:20], options, 112)
    print("\n| data module | | windows/s |\n|---|---|---|")
    whole_module(folder.parent, options)
    print("\n| clips | resident, MB |\n|---|---|")
    memory(files, options)
    first_batch(files)


if __name__ == "__main__":
    main()
