"""Small real videos with sound for tests of `Clips`, and how to look at its batches."""

import media
import numpy as np
import torch
from grouped import grouped

from datamodules.videos.clips import Clips

FPS, RATE = 25, 8000


def hum(seconds):
    """Sound of which no two windows are alike: a tone that gets louder and higher."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    return (0.5 * time / seconds * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype(np.float32)[None]


def write_films(root):
    """Write six videos of 40 to 65 numbered frames with sound, in two classes of two splits; return `root`."""
    for k in range(6):
        frames = 40 + 5 * k
        name = f"{'train' if k < 4 else 'test'}/{'ab'[k % 2]}/{k}.mp4"
        pictures, times = media.numbered(frames), media.regular(frames, FPS)
        media.write(root / name, pictures, times, hum(frames / FPS), sound_at=0.1 * (k == 2))
    return root


def spoiled(root):
    """Write 20 files, four of them bad for each its own reason; return the causes by name."""
    for k in range(20):
        if k in (3, 7, 11, 15):
            continue
        media.write(root / f"{k:02}.mp4", media.numbered(20), media.regular(20, FPS), hum(0.8))
    media.write(root / "03.mp4", media.numbered(3), media.regular(3, FPS), hum(0.8))
    media.write(root / "07.mp4", media.numbered(20), media.regular(20, FPS))
    media.write(root / "11.mp4", media.numbered(20), media.regular(20, FPS), 0 * hum(0.8))
    (root / "15.mp4").write_bytes((root / "00.mp4").read_bytes()[:400])
    return {"03.mp4": "too short", "07.mp4": "no sound track", "11.mp4": "silent"}


def clips(root, *modalities, **options):
    few = {"frames": 4, "fps": FPS, "canvas": 32, "rate": RATE, "batch_size": 2, "workers": 2, "val": 0}
    return Clips(root, modalities=modalities or ("rgb",), **grouped(Clips, **(few | options)))


def everything(batches):
    """Put all batches into one, modalities by name."""
    flat = [{**{k: v for k, v in b.items() if k != "x"}, **inputs(b)} for b in batches]
    return {name: torch.cat([batch[name] for batch in flat]) for name in flat[0]}


def inputs(batch):
    return batch["x"] if isinstance(batch["x"], dict) else {"x": batch["x"]}


def same(left, right):
    left, right = list(left), list(right)
    return len(left) == len(right) and all(
        torch.equal(everything([a])[name], everything([b])[name])
        for a, b in zip(left, right, strict=True)
        for name in everything([a])
    )


def numbers(clip):
    """Read the numbers of a clip's frames, (3, T, S, S)."""
    return [media.number(frame.numpy()) for frame in clip.unbind(1)]
