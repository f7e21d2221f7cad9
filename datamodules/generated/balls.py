"""A small world of balls: how one moves, looks and sounds. Pure functions; lengths are shares of the picture's side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

VERSION = 1
"""Counts the changes of what any of this makes."""
SECONDS = 3
FPS = 25
SIDE = 64  # pixels
RATE = 16000  # Hz
KINDS = ("curl", "drop", "fly", "slide")
"""Ways to move: along arcs, falling, straight across, straight and level."""
PACES = ("fast", "slow")
"""A fast ball does in half the time what a slow one does, and sounds about an octave higher."""
CLASSES = tuple(f"{kind}_{pace}" for kind in KINDS for pace in PACES)

_STEP = 1 / 500  # seconds: of the simulation; a hit's time is found exactly within a step
_PARTIALS = {
    "curl": ((1, 1.0), (3, 0.6), (5, 0.4), (7, 0.25)),  # hollow, as a clarinet
    "drop": ((1, 1.0), (4, 0.25)),  # wooden, as a marimba
    "fly": ((1, 0.8), (2.76, 0.7), (5.4, 0.4)),  # a bell: not harmonic
    "slide": ((1, 1.0), (2, 0.8), (3, 0.6), (4, 0.5), (5, 0.4), (6, 0.3)),  # a string
}
"""Timbre of each kind: multiples of the pitch, each with its strength."""
_LOUD = 1.8  # speed against a wall at which a slow ball is as loud as any
_FADE = 0.12  # seconds in which a flash falls to 1/e


class Hit(NamedTuple):
    """A ball meets a wall."""

    time: float
    """Seconds from the beginning."""
    force: float
    """Loudness, 0 to 1."""


@dataclass(frozen=True)
class Ball:
    """What a video is made of: the motion's law and its beginning, the look, the sound."""

    kind: str
    place: tuple[float, float]
    """Of the centre at the beginning: to the right, down."""
    velocity: tuple[float, float]
    gravity: float
    curl: float
    """Radians per second by which the direction of motion turns."""
    keeps: float
    """Share of the speed that a hit leaves."""
    pace: float
    """Speed against that of a slow ball."""
    radius: float
    pitch: float
    """Hz"""
    decay: float
    """Seconds in which a tone falls to 1/e."""


def throw(name: str, rng: Generator) -> Ball:
    """Draw a ball of the class `name`: its motion and sound tell the class, its place, size and colour do not."""
    kind, pace = name.split("_")
    speed = (2.0 if pace == "fast" else 1.0) * rng.uniform(0.9, 1.1)
    radius = rng.uniform(0.09, 0.15)
    place = rng.uniform(radius + 0.05, 0.95 - radius, 2)
    across, down = speed * rng.choice((-1.0, 1.0), 2)
    angle = np.deg2rad(rng.uniform(30, 60))
    gravity = curl = 0.0
    keeps = rng.uniform(0.94, 0.97)
    if kind == "drop":
        place[1] = rng.uniform(radius, 0.35)
        across, down, gravity, keeps = 0.2 * across, 0.0, 2.4 * speed**2, rng.uniform(0.8, 0.88)
    elif kind == "slide":
        across, down = 0.9 * across, 0.0
    elif kind == "curl":  # arcs wider than the picture, so that they lead to a wall
        curl = rng.choice((-2.0, 2.0)) * speed
        across, down = across * np.cos(angle), down * np.sin(angle)
    else:
        across, down = across * np.cos(angle), down * np.sin(angle)
    pitch = (520.0 if pace == "fast" else 260.0) * 2 ** rng.uniform(-0.3, 0.3)
    return Ball(
        kind,
        (float(place[0]), float(place[1])),
        (float(across), float(down)),
        gravity,
        float(curl),
        keeps,
        speed,
        radius,
        pitch,
        rng.uniform(0.08, 0.2),
    )


def motion(ball: Ball) -> tuple[Floats, list[Hit]]:
    """Let a ball move: its centre at every frame, (T, 2), and its hits in order.

    A hit turns the speed against the wall round and takes a share of all speed, so time has an arrow.
    """
    per_frame = round(1 / (FPS * _STEP))
    track, hits = [ball.place], list[Hit]()
    place, velocity = list(ball.place), complex(*ball.velocity)
    turn = complex(np.exp(1j * ball.curl * _STEP))
    for step in range(SECONDS * FPS * per_frame - 1):
        before = velocity
        velocity = velocity * turn + 1j * ball.gravity * _STEP
        moves = (before + velocity) / 2 * _STEP  # exact for a constant pull
        place[0] += moves.real
        place[1] += moves.imag
        for axis, pushes in enumerate((moves.real, moves.imag)):
            wall = ball.radius if pushes < 0 else 1 - ball.radius
            beyond = (place[axis] - wall) * (1 if pushes > 0 else -1)
            if pushes and beyond > 0:
                speed = abs(velocity.real if axis == 0 else velocity.imag)
                moment = (step + 1 - beyond / abs(pushes)) * _STEP
                hits.append(Hit(moment, min(1.0, speed / ball.pace / _LOUD)))
                place[axis] = wall - (place[axis] - wall) * ball.keeps
                velocity = ball.keeps * complex(
                    *((-velocity.real, velocity.imag) if axis == 0 else (velocity.real, -velocity.imag))
                )
        if (step + 1) % per_frame == 0:
            track.append((place[0], place[1]))
    return np.array(track), sorted(hits)


def look(ball: Ball, track: Floats, hits: list[Hit], rng: Generator) -> NDArray[np.uint8]:
    """Draw the frames, (T, S, S, 3) RGB: the ball, lit from above, on a random background; a hit makes it flash."""
    background = scenery(rng)
    ground = background.mean((0, 1))
    colours = rng.uniform(40, 215, (8, 3))
    colour = colours[np.abs(colours - ground).sum(1).argmax()]  # that which one sees best
    flash = 255 if colour.sum() > ground.sum() else 0  # away from the background, or it would fade into it
    y, x = (np.arange(SIDE) + 0.5)[:, None] / SIDE, (np.arange(SIDE) + 0.5)[None] / SIDE
    right, down = x - track[:, 0, None, None], y - track[:, 1, None, None]
    cover = np.clip((ball.radius - np.hypot(right, down)) * SIDE + 0.5, 0, 1)[..., None]
    light = np.clip(1 - 0.35 * down / ball.radius, 0.6, 1.4)[..., None]
    glow = glows(hits, len(track))[:, None, None, None]
    body = np.clip(colour * light * (1 - glow) + flash * glow, 0, 255)
    frames: Floats = background * (1 - cover) + body * cover
    return (frames + 0.5).astype(np.uint8)


def scenery(rng: Generator) -> Floats:
    """Paint a background, (S, S, 3) from 0 to 255: soft patches of colour, a little lighter above, and fine grain."""
    coarse = rng.uniform(50, 200) + rng.uniform(-25, 25, (5, 5, 3))
    soft = np.linspace(0, 4, SIDE)
    weights = np.clip(1 - np.abs(soft[:, None] - np.arange(5)), 0, 1)  # bilinear: (S, 5)
    patches = np.einsum("yi,xj,ijc->yxc", weights, weights, coarse)
    painted: Floats = patches + np.linspace(20, -20, SIDE)[:, None, None] + rng.normal(0, 4, patches.shape)
    return np.clip(painted, 0, 255)


def glows(hits: list[Hit], frames: int) -> Floats:
    """Tell how much the ball flashes at each frame, (T,) from 0 to 0.8: from the hit on, then fading."""
    since = np.arange(frames)[:, None] / FPS - np.array([hit.time for hit in hits])
    force = np.array([hit.force for hit in hits])
    glow: Floats = np.where(since >= 0, force * np.exp(-np.maximum(since, 0) / _FADE), 0).sum(1)
    return 0.8 * np.clip(glow, 0, 1)


def sound(ball: Ball, hits: list[Hit], rng: Generator) -> NDArray[np.int16]:
    """Sound the hits, (L,): each begins a tone at its very time, which dies away; below it, the noise of a room."""
    count = SECONDS * RATE
    wave = rng.normal(0, rng.uniform(0.001, 0.004), count)  # so that no moment is silent
    tone = strike(ball, rng)
    for hit in hits:
        start = round(hit.time * RATE)
        wave[start : start + len(tone)] += 0.5 * hit.force * tone[: count - start]
    return np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def strike(ball: Ball, rng: Generator) -> Floats:
    """Make the sound of one hit, a second long: the tone of its kind and pitch, after a click."""
    t = np.arange(RATE) / RATE
    partials = _PARTIALS[ball.kind]
    tone = sum(strength * np.sin(2 * np.pi * ball.pitch * k * t) for k, strength in partials)
    click = rng.normal(0, 1, RATE) * np.exp(-t / 0.003)
    wave: Floats = (tone / sum(strength for _, strength in partials) + 0.5 * click) * np.exp(-t / ball.decay)
    return wave
