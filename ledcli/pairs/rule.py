"""Which pairs a camera needs at a ratio, and what to shoot where they are not there.

The rule is the paper's: two pairs or more at each ratio, one at a low and one at a high ISO,
because two points determine the line of the noise over ISO.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledcli.pairs.frames import Frame
from ledcli.pairs.ratios import nominal_ratio

LOW_ISO = 500
"""A low ISO is this or less. LED, "A Customized Denoiser for Your Own Camera"."""
HIGH_ISO = 3200
"""A high one is this or more."""
# fmt: off
SHUTTERS = (
    *(1 / n for n in (
        8000, 6400, 5000, 4000, 3200, 2500, 2000, 1600, 1250, 1000, 800, 640, 500, 400, 320, 250,
        200, 160, 125, 100, 80, 60, 50, 40, 30, 25, 20, 15, 13, 10, 8, 6, 5, 4,
    )),
    0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6, 8, 10, 13, 15, 20, 25, 30,
)
"""Shutter speeds of cameras in third stops, seconds."""
ISOS = (
    100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000,
    5000, 6400, 8000, 10000, 12800, 16000, 20000, 25600, 32000, 40000, 51200,
)
"""ISOs of cameras in third stops."""
# fmt: on
USUAL_LOW, USUAL_HIGH = 100, 6400
"""Where a camera has shown nothing on that side of the rule."""
FIRST_RATIO, FIRST_LONG = 100.0, 10.0
"""What to begin with: the ratio, and seconds of the long frame."""


@dataclass(frozen=True)
class Shot:
    """A frame to shoot.

    Attributes
    ----------
    iso : float
    exposure_time : float
        In seconds.
    """

    iso: float
    exposure_time: float

    @property
    def level(self) -> float:
        """Exposure level."""
        return self.iso * self.exposure_time

    def __str__(self) -> str:
        return f"ISO {self.iso:g}, {time_text(self.exposure_time)}"


@dataclass(frozen=True)
class ToShoot:
    """A pair that is missing.

    Attributes
    ----------
    short, long : Shot
    scene : Frame or None
        A long frame, as `long` says, that was shot already.
    """

    short: Shot
    long: Shot
    scene: Frame | None

    def __str__(self) -> str:
        if self.scene is None:
            return f"a short frame at {self.short}, and a long one at {self.long}"
        return (
            f"a short frame at {self.short}, of the scene of {self.scene.file.name} "
            f"({self.long}); if the tripod has moved since, that long frame again too"
        )


@dataclass(frozen=True)
class RatioRule:
    """What there is of a camera at a ratio.

    Attributes
    ----------
    camera : str
    ratio : float
    pairs : int
    isos : tuple of floats
        Of the short frames, ascending.
    to_shoot : tuple of ToShoot
        Empty where the rule holds.
    """

    camera: str
    ratio: float
    pairs: int
    isos: tuple[float, ...]
    to_shoot: tuple[ToShoot, ...]

    @property
    def holds(self) -> bool:
        """Whether there are two pairs or more, of a low and of a high ISO."""
        return any(i <= LOW_ISO for i in self.isos) and any(i >= HIGH_ISO for i in self.isos)


def rule_for(
    camera: str, ratio: float, pairs: Sequence[tuple[Frame, Frame]], frames: Sequence[Frame]
) -> RatioRule:
    """Hold the pairs of one camera and ratio against the rule.

    Parameters
    ----------
    camera : str
    ratio : float
    pairs : sequence of (short, long)
        At least one.
    frames : sequence of Frame
        All of that camera: the ISOs and shutter speeds it has shown.
    """
    isos = sorted({short.iso for short, _ in pairs})
    wanted = []
    if not any(iso <= LOW_ISO for iso in isos):
        wanted.append(True)
    if not any(iso >= HIGH_ISO for iso in isos):
        wanted.append(False)
    longs = list(dict.fromkeys(long for _, long in pairs))
    found = (_missing_pair(ratio, low, longs, frames) for low in wanted)
    to_shoot = tuple(pair for pair in found if pair is not None)
    return RatioRule(camera, ratio, len(pairs), tuple(isos), to_shoot)


def first_pairs(frames: Sequence[Frame]) -> tuple[ToShoot, ...]:
    """Return two pairs to begin with, for a camera that has shown these frames."""
    low = _isos(True, frames)[0]
    long = Shot(low, FIRST_LONG)
    found = (_best_short(FIRST_RATIO, side, long, frames) for side in (True, False))
    return tuple(ToShoot(short, long, None) for short in found if short is not None)


def time_text(seconds: float) -> str:
    """Say an exposure time as cameras do.

    Examples
    --------
    >>> time_text(0.4), time_text(1 / 640)
    ('0.4 s', '1/640 s')
    """
    return f"{seconds:.3g} s" if seconds >= 0.29 else f"1/{1 / seconds:.0f} s"


def _missing_pair(
    ratio: float, low: bool, longs: Sequence[Frame], frames: Sequence[Frame]
) -> ToShoot | None:
    for long in longs:
        shot = Shot(long.iso, long.seconds)
        short = _best_short(ratio, low, shot, frames)
        if short is not None:
            return ToShoot(short, shot, long)
    # None of the scenes has light enough, or too much: another exposure of the long frame then.
    iso = min(long.iso for long in longs)
    others = sorted(SHUTTERS, key=lambda time: abs(math.log(iso * time / longs[0].level)))
    for time in others:
        short = _best_short(ratio, low, Shot(iso, time), frames)
        if short is not None:
            return ToShoot(short, Shot(iso, time), None)
    return None


def _best_short(ratio: float, low: bool, long: Shot, frames: Sequence[Frame]) -> Shot | None:
    """Find the short frame whose level is the long one's over the ratio; None without one."""
    shown_isos, shown_times = ({f.iso for f in frames}, {f.seconds for f in frames if f.seconds})
    isos = _isos(low, frames)

    def preference(shot: Shot) -> tuple[bool, float, int, bool]:
        off = abs(math.log(long.level / shot.level / ratio))
        new = shot.iso not in shown_isos
        return new, round(off, 2), isos.index(shot.iso), shot.exposure_time not in shown_times

    fitting = [
        shot
        for shot in _shots(isos, {*SHUTTERS, *shown_times})
        if nominal_ratio(long.level / shot.level) == ratio
    ]
    return min(fitting, key=preference, default=None)


def _shots(isos: Sequence[float], times: set[float]) -> Iterator[Shot]:
    return (Shot(iso, time) for iso in isos for time in sorted(times))


def _isos(low: bool, frames: Sequence[Frame]) -> list[float]:
    """ISOs of one side of the rule that the camera has, the best first.

    Those it has shown come first; third-stop ones between the lowest and the highest it has shown
    follow; the usual one where there is neither.
    """
    shown = {frame.iso for frame in frames if frame.iso}
    usual = USUAL_LOW if low else USUAL_HIGH
    least, most = min(shown, default=usual), max(shown, default=usual)

    def best_first(isos: set[float]) -> list[float]:
        fitting = (iso for iso in isos if (iso <= LOW_ISO if low else iso >= HIGH_ISO))
        return sorted(fitting, key=lambda iso: (abs(math.log(iso / usual)), iso))

    first = best_first(shown)
    between = best_first({float(iso) for iso in ISOS if least <= iso <= most} - shown)
    return first + between or [float(usual)]
