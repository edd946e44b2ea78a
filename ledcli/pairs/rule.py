"""Which pairs a camera needs at a ratio, and what to shoot where they are not there.

The rule is the paper's: two pairs or more at each ratio, one at a low and one at a high ISO,
because two points determine the line of the noise over ISO.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ledcli.pairs.exposures import ISOS, SHUTTERS, Exposure, best_short
from ledcli.pairs.frames import Frame
from ledcli.pairs.ratios import ROUND

LOW_ISO = 500
"""A low ISO is this or less. LED, "A Customized Denoiser for Your Own Camera"."""
HIGH_ISO = 3200
"""A high one is this or more."""
USUAL_LOW, USUAL_HIGH = 100, 6400
"""Where a camera has shown nothing on that side of the rule."""
FIRST_RATIO, FIRST_LONG = 100.0, 10.0
"""What to begin with: the ratio, and seconds of the long frame."""
OTHER_RATIOS = tuple(value * 10.0**power for power in range(4) for value in ROUND if value > 1)
"""What pairs may be shot at instead of a ratio that no exposures make."""


@dataclass(frozen=True)
class ToShoot:
    """A pair that is missing.

    Attributes
    ----------
    short, long : Exposure
    scene : Frame or None
        A long frame, as `long` says, that was shot already.
    """

    short: Exposure
    long: Exposure
    scene: Frame | None

    def __str__(self) -> str:
        if self.scene is None:
            return f"a short frame at {self.short}, and a long one at {self.long}"
        return (
            f"a short frame at {self.short}, of the scene of {self.scene.file.name} "
            f"({self.long}); if the tripod has moved since, that long frame again too"
        )


@dataclass(frozen=True)
class Instead:
    """Another ratio, for one that no usual ISO and shutter speed make on both sides of the rule.

    Attributes
    ----------
    ratio : float
    to_shoot : tuple of ToShoot
        Its pairs.
    """

    ratio: float
    to_shoot: tuple[ToShoot, ...]


@dataclass(frozen=True)
class RatioRule:
    """What there is of a camera at a ratio.

    Attributes
    ----------
    camera : str
    ratio : float
    pairs : int
        Good ones.
    isos : tuple of floats
        Of their short frames, ascending.
    to_shoot : tuple of ToShoot
        Empty where the rule holds, and where `instead` says more.
    instead : Instead or None
        Where no exposures of a camera make what is missing.
    serial : str or None
        The body's, where its frames say it.
    """

    camera: str
    ratio: float
    pairs: int
    isos: tuple[float, ...]
    to_shoot: tuple[ToShoot, ...]
    instead: Instead | None = None
    serial: str | None = None

    @property
    def holds(self) -> bool:
        """Whether there are two pairs or more, of a low and of a high ISO."""
        return not _missing(self.isos)

    @property
    def advice(self) -> tuple[str, ...]:
        """Lines that say what to shoot, one or more where the rule does not hold."""
        if self.instead is None:
            return tuple(str(pair) for pair in self.to_shoot)
        return (
            f"no usual ISO and shutter speed make what is missing, so shoot at ratio "
            f"{self.instead.ratio:g}: {'; '.join(map(str, self.instead.to_shoot))}",
        )


def rule_for(
    camera: str,
    ratio: float,
    pairs: Sequence[tuple[Frame, Frame]],
    frames: Sequence[Frame],
    *,
    scenes: Sequence[Frame] = (),
    long: Exposure | None = None,
    serial: str | None = None,
) -> RatioRule:
    """Hold the pairs of one camera and ratio against the rule.

    Parameters
    ----------
    camera : str
    ratio : float
        Nominal.
    pairs : sequence of (short, long)
        Good ones; there may be none.
    frames : sequence of Frame
        All of that camera: the ISOs and shutter speeds it has shown.
    scenes : sequence of Frame
        More long frames that a short one can be shot for: good ones of pairs that are not.
    long : Exposure or None
        Of a new long frame, where there is none yet that serves.
    serial : str or None
        The body's.
    """
    isos = tuple(sorted({short.iso for short, _ in pairs if short.iso}))
    longs = list(dict.fromkeys([*(long for _, long in pairs), *scenes]))
    longs = [frame for frame in longs if frame.level]
    start = long or Exposure(_isos(True, frames)[0], FIRST_LONG)
    to_shoot = _pairs_for(ratio, _missing(isos), longs, start, frames)
    instead = None if to_shoot is not None else _instead(ratio, longs, start, frames)
    return RatioRule(camera, ratio, len(pairs), isos, to_shoot or (), instead, serial)


def first_pairs(frames: Sequence[Frame]) -> tuple[ToShoot, ...]:
    """Return two pairs to begin with, for a camera that has shown these frames."""
    long = Exposure(_isos(True, frames)[0], FIRST_LONG)
    found = (best_short(FIRST_RATIO, _isos(low, frames), long, frames) for low in (True, False))
    return tuple(ToShoot(short, long, None) for short in found if short is not None)


def _missing(isos: Sequence[float]) -> list[bool]:
    """Sides of the rule that no ISO is on; True is the low one."""
    sides = []
    if not any(iso <= LOW_ISO for iso in isos):
        sides.append(True)
    if not any(iso >= HIGH_ISO for iso in isos):
        sides.append(False)
    return sides


def _pairs_for(
    ratio: float,
    sides: Sequence[bool],
    longs: Sequence[Frame],
    start: Exposure,
    frames: Sequence[Frame],
) -> tuple[ToShoot, ...] | None:
    """Find a pair for every side that is missing; None where there is none for one of them."""
    found = []
    for low in sides:
        pair = _missing_pair(ratio, low, longs, start, frames)
        if pair is None:
            return None
        found.append(pair)
    return tuple(found)


def _missing_pair(
    ratio: float, low: bool, longs: Sequence[Frame], start: Exposure, frames: Sequence[Frame]
) -> ToShoot | None:
    isos = _isos(low, frames)
    for frame in longs:
        long = Exposure(frame.iso, frame.seconds)
        short = best_short(ratio, isos, long, frames)
        if short is not None:
            return ToShoot(short, long, frame)
    # None of the scenes has light enough, or too much: another exposure of the long frame then.
    iso = min((frame.iso for frame in longs), default=start.iso)
    level = longs[0].level if longs else start.level
    for time in sorted(SHUTTERS, key=lambda time: abs(math.log(iso * time / level))):
        long = Exposure(iso, time)
        short = best_short(ratio, isos, long, frames)
        if short is not None:
            return ToShoot(short, long, None)
    return None


def _instead(
    ratio: float, longs: Sequence[Frame], start: Exposure, frames: Sequence[Frame]
) -> Instead:
    """Find the nearest ratio that a camera's exposures make on both sides of the rule."""
    others = (value for value in OTHER_RATIOS if value != ratio)
    for other in sorted(others, key=lambda value: abs(math.log(value / ratio))):
        pairs = _pairs_for(other, (True, False), longs, start, frames)
        if pairs:
            return Instead(other, pairs)
    return Instead(FIRST_RATIO, first_pairs([]))


def _isos(low: bool, frames: Sequence[Frame]) -> list[float]:
    """ISOs of one side of the rule that the camera has, the best first.

    Those it has shown come first; third-stop ones on this side of the highest, or the lowest, that
    it has shown follow; the usual one where there is neither.
    """
    shown = {frame.iso for frame in frames if frame.iso}
    usual = USUAL_LOW if low else USUAL_HIGH
    least, most = min(shown, default=usual), max(shown, default=usual)

    def best_first(isos: set[float]) -> list[float]:
        fitting = (iso for iso in isos if (iso <= LOW_ISO if low else iso >= HIGH_ISO))
        return sorted(fitting, key=lambda iso: (abs(math.log(iso / usual)), iso))

    within = {float(iso) for iso in ISOS if (iso >= least if low else iso <= most)}
    return best_first(shown) + best_first(within - shown) or [float(usual)]
