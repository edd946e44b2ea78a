"""Made-up shots of a made-up camera, small enough for tests."""

import numpy as np
import torch

from ledcli.noise.cameras import Camera, LogLinear
from ledcli.noise.physics import add_noise
from ledcli.sensor.cfa import STANDARD_PHASE
from ledcli.sensor.layout import layout_of
from ledcli.training.data.pairs import RawPair, camera_pairs

WHITE = 15871.0
CAMERA = Camera(
    name="test",
    gain_range=(0.1, 32.0),
    read=LogLinear(0.6, 0.5, 0.0),
    row=LogLinear(0.6, 0.5, 0.0),
    tukey_lambdas=[0.1],
    colour_bias=[[0.0] * 4],
)


def scene(height=160, width=128, seed=0, planes=4):
    """Clean planes with edges, 0 to 1."""
    rng = np.random.default_rng(seed)
    light = np.full((height, width), 0.3)
    for _ in range(40):
        row, col = rng.integers(height), rng.integers(width)
        light[row : row + 25, col : col + 30] = rng.uniform(0, 0.9)
    colours = np.array([0.5, 1.0, 0.6])[list(layout_of(planes).colours)]
    return (light * colours[:, None, None]).astype(np.float32)


def shoot(clean, iso, ratio, seed):
    """Photograph clean planes, too dark by the ratio."""
    noise = CAMERA.sample(1, gain=iso / 400, spread=False, colour_bias=False)
    signal = torch.from_numpy(clean)[None] * (WHITE / ratio)
    dn = add_noise(signal, noise, torch.Generator().manual_seed(seed))[0]
    return (dn / WHITE).clamp_max(1).numpy()


def shot(iso, ratio, seed=0, planes=4):
    """A pair of one scene."""
    clean = scene(seed=seed, planes=planes)
    frames = shoot(clean, iso, ratio, seed), shoot(clean, 100, 1, seed + 50)
    return RawPair(*frames, ratio, iso, 100.0, "shot", STANDARD_PHASE[layout_of(planes).name])


def shots(ratios=(100.0, 300.0), isos=(400.0, 6400.0), planes=4):
    """The few shots of LED's rule."""
    pairs = [(iso, ratio) for ratio in ratios for iso in isos]
    return camera_pairs(shot(iso, ratio, seed, planes) for seed, (iso, ratio) in enumerate(pairs))
