"""Made-up pairs of raws, small enough for tests: each a scene of its own."""

from fractions import Fraction

from ledcli.raw.reader import read_raw
from tests.shoot import make_raw, scene

SHAPE = (256, 320)


def shoot_pair(folder, name, iso, ratio, seed, *, shape=SHAPE, **how):
    """Write NAME_short.ARW and NAME_long.ARW of one scene and return the two paths."""
    light, gain = scene(shape, seed), iso / 400
    short, long = (folder / f"{name}_{which}.ARW" for which in ("short", "long"))
    make_raw(
        short, light=light / ratio, iso=iso, exposure_time=Fraction(1000, iso * ratio),
        gain=gain, read_noise=2 + gain, seed=seed, **how,
    )  # fmt: skip
    make_raw(long, light=light, iso=100, exposure_time=10, gain=0.25, read_noise=1, **how)
    return short, long


def photos_of(paths):
    """Read a pair."""
    return tuple(read_raw(path) for path in paths)


def make_pair(folder, name, iso, ratio, seed, shape=SHAPE, **how):
    """Write NAME_short.ARW and NAME_long.ARW of one scene and return their line."""
    light = scene(shape, seed)
    gain = iso / 400
    make_raw(
        folder / f"{name}_short.ARW", shape=shape, light=light / ratio, iso=iso,
        exposure_time=Fraction(1000, iso * ratio), gain=gain, read_noise=2 + gain, seed=seed, **how,
    )  # fmt: skip
    make_raw(
        folder / f"{name}_long.ARW", shape=shape, light=light, iso=100, exposure_time=10,
        gain=0.25, read_noise=1, seed=seed + 100, **how,
    )  # fmt: skip
    return f"{name}_short.ARW {name}_long.ARW\n"
