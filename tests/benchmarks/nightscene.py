"""A street at night, drawn by code: light that no camera has added noise to.

Nothing of it comes from the scenes that the models were trained on.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 480
FINE = 4
"""Shapes are drawn so many times larger, then averaged: soft edges."""
ROOF, GROUND, LEFT = 190, 400, 230
"""Rows and the column where the house begins, and the row where the street does."""
LAMP = (262.0, 224.0)
"""Column and row."""
STARS = 260
POSTER = (
    (15, "NIGHT MARKET"),
    (12, "every Friday, 7 to 11 pm"),
    (10, "soup, noodles, old records"),
    (9, "Harbour Street 28, by the bridge"),
    (8, "bring a coat and a tripod"),
)
"""Height of the letters in pixels, and text."""

Linear = NDArray[np.float32]
Draw = ImageDraw.ImageDraw

_rows, _cols = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def night_street() -> Linear:
    """Draw the street ``(480, 640, 3)``: linear sRGB, white at 1, lamps above it."""
    rng = np.random.default_rng(28)
    scene = _sky(rng)
    _paint(scene, lambda draw: _branch(draw, (90, 400), -1.52, 74, 9, rng), (0.012, 0.012, 0.01))
    for sag in (34, 46):
        _paint(scene, lambda draw, sag=sag: _wire(draw, sag), (0.006, 0.006, 0.008))
    light = _lamp_light()
    _house(scene, light, rng)
    _street(scene, light, rng)
    _glow(scene, *LAMP, 2.5, 18, (1.0, 0.78, 0.45))
    return scene


def _paint(scene: Linear, draw_on: Callable[[Draw], None], fill: object) -> None:
    """Blend a colour, or a picture of the scene's size, where something is drawn."""
    canvas = Image.new("L", (FINE * WIDTH, FINE * HEIGHT))
    draw_on(ImageDraw.Draw(canvas))
    cover = np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float32) / 255
    scene += cover[..., None] * (np.asarray(fill, np.float32) - scene)


def _box(scene: Linear, left: float, top: float, right: float, bottom: float, fill: object) -> None:
    corners = [FINE * n for n in (left, top, right, bottom)]
    _paint(scene, lambda draw: draw.rectangle(corners, fill=255), fill)


def _text(scene: Linear, at: tuple[float, float], text: str, height: int, fill: object) -> None:
    font = ImageFont.load_default(FINE * height)
    _paint(scene, lambda draw: draw.text([FINE * n for n in at], text, 255, font), fill)


def _glow(
    scene: Linear, col: float, row: float, width: float, peak: float, colour: tuple[float, ...]
) -> None:
    """Add a light: its image, and a wide, faint halo."""
    distance = (_cols - col) ** 2 + (_rows - row) ** 2
    light = peak * np.exp(-distance / (2 * width**2)) + peak / 180 / (1 + distance / 400)
    scene += light[..., None] * np.asarray(colour, np.float32)


def _sky(rng: np.random.Generator) -> Linear:
    place = (np.clip(_rows / GROUND, 0, 1) ** 1.6)[..., None]
    top, horizon = np.float32([0.010, 0.016, 0.040]), np.float32([0.150, 0.100, 0.070])
    scene: Linear = top * (1 - place) + horizon * place
    for _ in range(STARS):
        col, row = rng.uniform(0, WIDTH), rng.uniform(0, 300)
        tint = np.exp(rng.normal(0, 0.18) * np.array([1, 0, -1]))
        star = np.exp(-((_cols - col) ** 2 + (_rows - row) ** 2) / (2 * rng.uniform(0.7, 1.0) ** 2))
        peak = np.exp(rng.uniform(np.log(0.02), np.log(1.5)))
        scene += (peak * star)[..., None] * tint.astype(np.float32)
    return scene


def _branch(
    draw: Draw,
    at: tuple[float, float],
    angle: float,
    length: float,
    width: float,
    rng: np.random.Generator,
) -> None:
    """Draw a branch and, at its end, thinner ones; a bare tree."""
    end = at[0] + length * np.cos(angle), at[1] + length * np.sin(angle)
    draw.line([FINE * n for n in (*at, *end)], fill=255, width=max(1, round(FINE * width)))
    if length > 6:
        for turn in rng.normal((-0.45, 0.42, 0.05), 0.16):
            shorter = length * rng.uniform(0.62, 0.8)
            _branch(draw, end, angle + turn, shorter, width * 0.62, rng)


def _wire(draw: Draw, sag: float) -> None:
    cols = np.linspace(0, WIDTH, 80)
    rows = 60 + sag * (1 - ((cols - 300) / 340) ** 2)
    draw.line([(FINE * c, FINE * r) for c, r in zip(cols, rows, strict=True)], fill=255, width=FINE)


def _lamp_light() -> Linear:
    """Light of the lamp and of the sky ``(480, 640, 3)``, on what stands in it."""
    distance = np.hypot(_cols - LAMP[0], _rows - LAMP[1])[..., None]
    lamp = np.float32([1.0, 0.78, 0.5]) * 1.1 / (1 + (distance / 75) ** 2)
    return lamp + np.float32([0.05, 0.06, 0.085])


def _bricks(height: float, width: float, rng: np.random.Generator) -> Linear:
    """Brightness ``(480, 640)`` of bricks, each its own, with rough faces and bright mortar."""
    line = _rows // height
    along = _cols + width / 2 * (line % 2)
    own = rng.uniform(0.55, 1.2, (HEIGHT, WIDTH))[line.astype(int), (along // width).astype(int)]
    mortar = (_rows % height < 1.3) | (along % width < 1.3)
    rough = rng.normal(1, 0.13, (HEIGHT, WIDTH))
    return np.where(mortar, 1.5, own * rough).astype(np.float32)


def _house(scene: Linear, light: Linear, rng: np.random.Generator) -> None:
    wall = _bricks(8, 19, rng)[..., None] * light * np.float32([0.42, 0.24, 0.17])
    _box(scene, LEFT, ROOF, WIDTH, GROUND, wall)
    tiles = (0.6 + 0.4 * np.sign(np.sin(_cols * 1.3) * np.sin(_rows * 0.9)))[..., None]
    slate = tiles * light * np.float32([0.16, 0.18, 0.22])
    corners = [(LEFT - 12, ROOF), (LEFT + 60, 130), (WIDTH, 130), (WIDTH, ROOF)]
    points = [(FINE * col, FINE * row) for col, row in corners]
    _paint(scene, lambda draw: draw.polygon(points, fill=255), slate)
    # A lit window with curtains, and a dark one with a blind.
    folds = (0.75 + 0.25 * np.sin(_cols * 0.9))[..., None] * np.float32([1.5, 1.05, 0.5])
    _box(scene, 300, 214, 352, 280, folds)
    blind = (0.5 + 0.5 * np.sign(np.sin(_rows * 2 * np.pi / 3.5)))[..., None]
    _box(scene, 540, 214, 592, 280, blind * light * np.float32([0.5, 0.5, 0.48]))
    for left in (300, 540):
        for bar in (left, left + 25, left + 50):
            _box(scene, bar, 214, bar + 2.5, 280, (0.02, 0.02, 0.022))
        _box(scene, left, 245, left + 52, 247.5, (0.02, 0.02, 0.022))
    # The sign is a lamp itself; the awning and the poster are lit.
    _box(scene, 366, 198, 536, 252, (0.012, 0.012, 0.016))
    _text(scene, (374, 196), "CAFE", 40, (1.6, 0.12, 0.42))
    _text(scene, (488, 226), "open", 17, (0.1, 0.9, 1.1))
    for number in range(12):
        colour = ((0.75, 0.75, 0.72), (0.62, 0.05, 0.05), (0.05, 0.26, 0.1), (0.06, 0.1, 0.45))
        left = 372 + 14 * number
        _box(scene, left, 262, left + 14, 286, light * np.float32(colour[number % 4]))
    lit = light + np.float32([0.28, 0.24, 0.19])
    _box(scene, 356, 298, 540, 376, lit * np.float32([0.78, 0.75, 0.66]))
    row = 299.0
    for height, text in POSTER:
        _text(scene, (362, row), text, height, lit * 0.05)
        row += height * 1.25
    # A door with a grating.
    bars = (0.5 + 0.5 * np.sign(np.sin(_cols * 2 * np.pi / 4)))[..., None]
    _box(scene, 300, 318, 345, 400, bars * light * np.float32([0.14, 0.3, 0.26]))


def _street(scene: Linear, light: Linear, rng: np.random.Generator) -> None:
    """Draw wet cobbles: stones in the lamp's light, and what they mirror of the house."""
    stones = _bricks(6, 9, rng)[..., None] * light * np.float32([0.3, 0.29, 0.28])
    mirrored = scene.copy()
    depth = HEIGHT - GROUND
    mirrored[GROUND:] = scene[GROUND - 2 * depth : GROUND : 2][::-1]
    _box(scene, 0, GROUND, WIDTH, HEIGHT, 0.7 * stones + 0.25 * mirrored)
    # The post of the lamp.
    _box(scene, LAMP[0] - 1.5, LAMP[1], LAMP[0] + 1.5, GROUND + 14, (0.015, 0.015, 0.015))
