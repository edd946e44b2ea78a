"""Procedural scenes: clean linear images made from nothing, so that training needs no folder.

Dead leaves (Lee et al. 2001) have the statistics of photographs: shapes that hide each other,
sizes by a power law, edges at every scale. Ours carry textures, and on top come gradients, fine
lines, text-like strokes and point lights.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ledcli.sensor.layout import layout_of

Linear: TypeAlias = NDArray[np.float32]
"""A linear RGB image ``(H, W, 3)`` in 0..1, or one plane of it."""
STAR_DENSITY = (3e-4, 1e-2)
"""Stars per cell of the sensor."""
STAR_WIDTH = (0.4, 1.6)
"""Standard deviation of a star's image in pixels of the sensor: 1 to 4 at half its height."""
STAR_PEAK = (0.003, 3.0)
"""Brightness of a star's middle; white is 1."""
NIGHT = (0.01, 0.5)
"""Share of a scene's light that is left at night."""
STAR_REACH = 4
"""Cells from its middle to which a star is drawn."""


def make_scene(size: int, rng: np.random.Generator) -> Linear:
    """Make one clean scene ``(size, size, 3)``, linear RGB in 0..1."""
    scene = _gradient(size, rng)
    if rng.random() < 0.9:
        _dead_leaves(scene, rng)
    if rng.random() < 0.35:
        _strokes(scene, rng, _line)
    if rng.random() < 0.35:
        _strokes(scene, rng, _text)
    if rng.random() < 0.3:
        _lights(scene, rng)
    scene *= np.float32(rng.uniform(0.3, 1.0) / max(float(np.quantile(scene, 0.995)), 1e-3))
    return np.clip(scene, 0, 1).astype(np.float32)


def _colour(rng: np.random.Generator) -> Linear:
    grey = np.exp(rng.uniform(np.log(0.02), 0))
    tint = rng.normal(0, rng.uniform(0, 0.35), 3)
    return (grey * np.exp(tint)).clip(0, 1.5).astype(np.float32)


def _gradient(size: int, rng: np.random.Generator) -> Linear:
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    place = np.clip(0.5 + (cols - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle), 0, 1)
    place = place[..., None] ** np.float32(rng.uniform(0.5, 2))
    return _colour(rng) * (1 - place) + _colour(rng) * place


def _dead_leaves(scene: Linear, rng: np.random.Generator) -> None:
    size = len(scene)
    smallest, largest = rng.uniform(2, 6), size * rng.uniform(0.15, 0.6)
    textured = rng.uniform(0, 0.8)
    # As many on each part of a large scene as a small one has.
    for _ in range(int(rng.uniform(60, 700) * max(1, size / 512) ** 2)):
        # Inverse-cube law of sizes, by its quantile function.
        u = rng.random()
        radius = 1 / np.sqrt(u / smallest**2 + (1 - u) / largest**2)
        row, col = rng.uniform(0, size, 2)
        top, left = max(int(row - radius), 0), max(int(col - radius), 0)
        bottom, right = min(int(row + radius) + 2, size), min(int(col + radius) + 2, size)
        if bottom - top < 1 or right - left < 1:
            continue
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        cover = _leaf(y - row, x - col, radius, rng)[..., None]
        fill: Linear = np.broadcast_to(_colour(rng), (*cover.shape[:2], 3))
        if radius > 6 and rng.random() < textured:
            fill = fill * _texture(y, x, rng)[..., None]
        scene[top:bottom, left:right] += cover * (fill - scene[top:bottom, left:right])


def _leaf(y: Linear, x: Linear, radius: float, rng: np.random.Generator) -> Linear:
    """Coverage in 0..1 of a disc, an ellipse or a rectangle; its edge is a pixel soft or more."""
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / rng.uniform(0.25, 1)
    if rng.random() < 0.5:
        distance = np.hypot(along, across)
    else:
        distance = np.maximum(np.abs(along), np.abs(across)) * np.sqrt(2)
    softness = 1.0 if rng.random() < 0.7 else rng.uniform(1, 6)
    return np.clip((radius - distance) / softness, 0, 1).astype(np.float32)


def _texture(y: Linear, x: Linear, rng: np.random.Generator) -> Linear:
    """Multiplier around 1: a grating, a check, or noise at one scale with its octaves."""
    depth = np.float32(rng.uniform(0.05, 0.9))
    kind = rng.integers(3)
    if kind == 2:
        return np.exp(depth * _octaves(y.shape, rng)).astype(np.float32)
    period = log_uniform(rng, 3, 40)
    angle = rng.uniform(0, np.pi)
    wave = np.sin(2 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)))
    if kind == 1:
        wave = np.sign(wave * np.sin(2 * np.pi / period * (y * np.cos(angle) - x * np.sin(angle))))
    return (1 + depth * wave).clip(0, 2).astype(np.float32)


def _octaves(shape: tuple[int, ...], rng: np.random.Generator) -> Linear:
    rows, cols = shape
    total = np.zeros((rows, cols), np.float32)
    roughness = rng.uniform(0.4, 1.1)
    for octave in range(5):
        step = 1 << octave
        coarse = rng.standard_normal((rows // step + 2, cols // step + 2), dtype=np.float32)
        image = Image.fromarray(coarse).resize(
            (coarse.shape[1] * step, coarse.shape[0] * step), Image.Resampling.BICUBIC
        )
        total += np.asarray(image)[:rows, :cols] * np.float32(roughness ** (4 - octave) * 0.5)
    return total / np.float32(2)


def _strokes(
    scene: Linear,
    rng: np.random.Generator,
    draw_one: Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None],
) -> None:
    """Blend lines or text in one colour; drawn at three times the size for soft edges."""
    size = len(scene)
    canvas = Image.new("L", (3 * size, 3 * size))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 25))):
        draw_one(draw, 3 * size, rng)
    cover = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    scene += cover[..., None] * (_colour(rng) - scene)


def _line(draw: ImageDraw.ImageDraw, extent: int, rng: np.random.Generator) -> None:
    points = rng.uniform(0, extent, (int(rng.integers(2, 5)), 2))
    draw.line([(float(x), float(y)) for x, y in points], fill=255, width=int(rng.integers(2, 10)))


def _text(draw: ImageDraw.ImageDraw, extent: int, rng: np.random.Generator) -> None:
    """Draw a line of synthetic letters: a few strokes each, on a lattice of 3 x 3 points."""
    height = float(log_uniform(rng, 15, 90))
    x, y = rng.uniform(0, extent, 2)
    for _ in range(int(rng.integers(3, 14))):
        corners = rng.integers(0, 3, (int(rng.integers(2, 5)), 2))
        points = [(x + c * height / 3, y + r * height / 2) for c, r in corners.tolist()]
        draw.line(points, fill=255, width=max(int(height / 9), 2))
        x += height * 0.95


def _lights(scene: Linear, rng: np.random.Generator) -> None:
    """Darken the scene as at night, and add point lights with halos."""
    size = len(scene)
    scene *= np.float32(log_uniform(rng, 0.02, 0.6))
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(int(rng.integers(1, 20))):
        row, col = rng.uniform(0, size, 2)
        distance = (rows - row) ** 2 + (cols - col) ** 2
        core = np.exp(-distance / (2 * rng.uniform(0.5, 4) ** 2))
        halo = rng.uniform(0, 0.03) / (1 + distance / rng.uniform(2, 20) ** 2)
        scene += (core + halo)[..., None] * _colour(rng) * np.float32(rng.uniform(0.5, 3))


def add_stars(scenes: Tensor, chosen: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Turn the chosen ones of ``(N, planes, h, w)`` into night skies with stars, in place.

    Stars are as narrow as lenses make them: what is that narrow must not pass for a hot pixel.
    """
    for frame in np.flatnonzero(chosen).tolist():
        scenes[frame] *= float(log_uniform(rng, *NIGHT))
        planes, height, width = scenes.shape[1:]
        scenes[frame] += torch.from_numpy(starry_sky(planes, height, width, rng)).to(scenes)


def starry_sky(planes: int, height: int, width: int, rng: np.random.Generator) -> Linear:
    """Return the light of stars ``(planes, height, width)``; only they are not black."""
    layout = layout_of(planes)
    count = 1 + int(log_uniform(rng, *STAR_DENSITY) * height * width)
    row, col = rng.uniform(0, [[height], [width]], (2, count))
    spread = log_uniform(rng, *STAR_WIDTH) * np.exp(rng.normal(0, 0.1, count))
    # Many faint stars and few bright ones.
    peak = log_uniform(rng, *STAR_PEAK, count)
    warmth = rng.normal(0, 0.2, count)
    colours = peak[:, None] * np.exp(np.stack((warmth, np.zeros(count), -warmth), 1))
    reach = np.arange(-STAR_REACH, STAR_REACH + 1)
    rows, cols = (np.floor(centre).astype(int)[:, None] + reach for centre in (row, col))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((cols >= 0) & (cols < width))[:, None]
    of_star, down, right = inside.nonzero()
    where = rows[of_star, down], cols[of_star, right]
    sky = np.zeros((planes, height, width), np.float32)
    for plane, (colour, position) in enumerate(zip(layout.colours, layout.even, strict=True)):
        # Distances in pixels; the odd cells of an X-Trans are taken for even ones.
        rows_off = layout.side * (rows - row[:, None]) + position[0]
        cols_off = layout.side * (cols - col[:, None]) + position[1]
        squared = rows_off[:, :, None] ** 2 + cols_off[:, None] ** 2
        light = colours[:, colour, None, None] * np.exp(-squared / (2 * spread**2)[:, None, None])
        np.add.at(sky[plane], where, light[inside])
    return sky


def log_uniform(
    rng: np.random.Generator, low: float, high: float, count: int | None = None
) -> NDArray[Any]:
    """Draw ``count`` values, or one, that are uniform in their logarithm."""
    return np.exp(rng.uniform(np.log(low), np.log(high), count))
