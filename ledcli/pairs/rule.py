"""LED's rule for the pairs of every camera and ratio, and which exposures to shoot to meet it.

The rule: two pairs or more, one of them at a low and one at a high ISO.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledcli.pairs.checks import MAX_CLIPPED, CheckedPair
from ledcli.pairs.frames import ROUND_RATIOS, Frame, grouped, nominal_ratio

LOW_ISO = 500
"""A low ISO is this or less. LED, "A Customized Denoiser for Your Own Camera"."""
HIGH_ISO = 3200
"""A high one is this or more."""
USUAL_LOW, USUAL_HIGH = 100, 6400
"""Suggested where the camera's frames show no ISO on that side of the rule."""
FIRST_RATIO, FIRST_LONG_SECONDS = 100.0, 10.0
"""Suggested for the first pair of a shoot."""
OTHER_RATIOS = tuple(r * 10.0**power for power in range(4) for r in ROUND_RATIOS if r > 1)
"""Suggested instead of a ratio that no exposures make."""
MAX_RATIO_ERROR = 0.1
"""Nominal ratios differ less from the real ones, as a logarithm."""
LESS_EXPOSED = 4.0
"""How much less to expose a long frame than a clipped one."""
UNKNOWN_CAMERA = "unknown camera"
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


@dataclass(frozen=True)
class Exposure:
    """ISO and exposure time (seconds) of a frame to shoot."""

    iso: float
    exposure_time: float

    @property
    def level(self) -> float:
        """Exposure level."""
        return self.iso * self.exposure_time

    def __str__(self) -> str:
        seconds = self.exposure_time
        # As cameras display it.
        time = f"{seconds:.3g} s" if seconds >= 0.29 else f"1/{1 / seconds:.0f} s"
        return f"ISO {self.iso:g}, {time}"


@dataclass(frozen=True)
class MissingPair:
    """A pair to shoot; `scene` is an existing long frame of that exposure, if there is one."""

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


class OtherRatio(NamedTuple):
    """A ratio, and its pairs, for one that no usual ISO and shutter speed make."""

    ratio: float
    to_shoot: tuple[MissingPair, ...]


@dataclass(frozen=True)
class RatioRule:
    """The pairs of a camera at a ratio, and what the rule still needs."""

    camera: str
    ratio: float
    pairs: int
    """Number of good ones."""
    isos: tuple[float, ...]
    """Of their short frames, ascending."""
    to_shoot: tuple[MissingPair, ...]
    """Empty where the rule holds, and where `instead` is given."""
    instead: OtherRatio | None = None
    """Given where no usual ISO and shutter speed make what is missing."""
    serial: str | None = None
    """Of the body, where its frames have it."""

    @property
    def holds(self) -> bool:
        """Whether there are pairs of a low and of a high ISO."""
        return not _missing_isos(self.isos)

    @property
    def advice(self) -> tuple[str, ...]:
        """Lines that say what to shoot, one or more where the rule does not hold."""
        if self.instead is None:
            return tuple(str(pair) for pair in self.to_shoot)
        return (
            f"no usual ISO and shutter speed make what is missing, so shoot at ratio "
            f"{self.instead.ratio:g}: {'; '.join(map(str, self.instead.to_shoot))}",
        )


def rules_of(
    pairs: Sequence[CheckedPair], dropped: Sequence[CheckedPair], frames: Sequence[Frame]
) -> list[RatioRule]:
    """Apply the rule to every body and ratio of a shoot's frames, in that order.

    Dropped pairs, those with problems, do not count, but their ratios are wanted as well.
    """
    bodies: dict[str, set[str]] = {}
    for frame in frames:
        model, serial = frame.camera
        bodies.setdefault(model, set()).update({serial} - {""})

    def body_of(frame: Frame) -> tuple[str, str]:
        # A frame without a serial number is of the only body there is.
        model, serial = frame.camera
        only = bodies[model] if len(bodies[model]) == 1 else {""}
        return model, serial or next(iter(only))

    def key(pair: CheckedPair) -> tuple[tuple[str, str], float]:
        return body_of(pair.short), nominal_ratio(pair.check.ratio)

    good, bad = grouped(pairs, key), grouped(dropped, key)
    rules = []
    for body, ratio in sorted({*good, *bad}):
        own, others = good.get((body, ratio), []), bad.get((body, ratio), [])
        rule = rule_for(
            (own + others)[0].short.exif.camera or UNKNOWN_CAMERA,
            ratio,
            [(pair.short, pair.long) for pair in own],
            [frame for frame in frames if body_of(frame) == body],
            # Where a shift is the only problem, the long frame is good.
            scenes=[p.long for p in others if not p.check.problems_if(keep_shifted=True)],
            long=next((_new_long(pair) for pair in others if pair.long.level), None),
            serial=body[1] or None,
        )
        rules.append(rule)
    return rules


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
    """Apply the rule to the good pairs (short, long) of one camera and nominal ratio.

    `frames` are all of that camera: they show the ISOs and shutter speeds it has. `scenes` are
    more long frames that a short one can be shot for; `long` is the exposure of a new long frame,
    where there is no usable one yet.
    """
    isos = tuple(sorted({short.iso for short, _ in pairs if short.iso}))
    longs = list(dict.fromkeys([*(long for _, long in pairs), *scenes]))
    longs = [frame for frame in longs if frame.level]
    to_shoot = _missing_pairs(ratio, _missing_isos(isos), longs, long, frames)
    instead = _other_ratio(ratio, longs, long, frames) if to_shoot is None else None
    return RatioRule(camera, ratio, len(pairs), isos, to_shoot or (), instead, serial)


def first_pairs(frames: Sequence[Frame]) -> tuple[MissingPair, ...]:
    """Return two pairs to begin with, for the camera of these frames."""
    return _missing_pairs(FIRST_RATIO, (True, False), (), None, frames) or ()


def _missing_isos(isos: Sequence[float]) -> list[bool]:
    """Sides of the rule without an ISO; True is the low one."""
    missing = [] if any(iso <= LOW_ISO for iso in isos) else [True]
    return missing if any(iso >= HIGH_ISO for iso in isos) else [*missing, False]


def _missing_pairs(
    ratio: float,
    missing: Sequence[bool],
    longs: Sequence[Frame],
    new_long: Exposure | None,
    frames: Sequence[Frame],
) -> tuple[MissingPair, ...] | None:
    """Find a pair for every missing side; None where no exposures make one of them."""
    start = new_long or Exposure(_isos(True, frames)[0], FIRST_LONG_SECONDS)
    # Where none of the scenes has enough light, or too much: another exposure of the long frame.
    iso = min((frame.iso for frame in longs), default=start.iso)
    level = longs[0].level if longs else start.level
    by_distance = sorted(SHUTTERS, key=lambda time: abs(math.log(iso * time / level)))
    choices: list[tuple[Exposure, Frame | None]] = [
        *((Exposure(frame.iso, frame.seconds), frame) for frame in longs),
        *((Exposure(iso, time), None) for time in by_distance),
    ]
    found = []
    for low in missing:
        for long, scene in choices:
            short = _best_short(ratio, low, long, frames)
            if short is not None:
                found.append(MissingPair(short, long, scene))
                break
        else:
            return None
    return tuple(found)


def _other_ratio(
    ratio: float, longs: Sequence[Frame], new_long: Exposure | None, frames: Sequence[Frame]
) -> OtherRatio:
    others = (value for value in OTHER_RATIOS if value != ratio)
    for other in sorted(others, key=lambda value: abs(math.log(value / ratio))):
        pairs = _missing_pairs(other, (True, False), longs, new_long, frames)
        if pairs:
            return OtherRatio(other, pairs)
    return OtherRatio(FIRST_RATIO, first_pairs([]))


def _best_short(
    ratio: float, low: bool, long: Exposure, frames: Sequence[Frame]
) -> Exposure | None:
    """Find the short exposure of a low or high ISO for a long one; None where none fits.

    What the camera's frames have is preferred.
    """
    isos = _isos(low, frames)
    known_isos, known_times = ({f.iso for f in frames}, {f.seconds for f in frames if f.seconds})

    def error(short: Exposure) -> float:
        return abs(math.log(long.level / short.level / ratio))

    def preference(short: Exposure) -> tuple[bool, float, int, bool]:
        new_iso, new_time = short.iso not in known_isos, short.exposure_time not in known_times
        return new_iso, round(error(short), 2), isos.index(short.iso), new_time

    times = sorted({*SHUTTERS, *known_times})
    exposures = (Exposure(iso, time) for iso in isos for time in times)
    fitting = [
        short
        for short in exposures
        if error(short) < MAX_RATIO_ERROR and nominal_ratio(long.level / short.level) == ratio
    ]
    return min(fitting, key=preference, default=None)


def _isos(low: bool, frames: Sequence[Frame]) -> list[float]:
    """ISOs of one side of the rule that the camera has, the best first.

    Those its frames have come first; third-stop ones within their range follow; the usual one
    where there is neither.
    """
    known = {frame.iso for frame in frames if frame.iso}
    usual = USUAL_LOW if low else USUAL_HIGH
    lowest, highest = min(known, default=usual), max(known, default=usual)

    def best_first(isos: set[float]) -> list[float]:
        fitting = (iso for iso in isos if (iso <= LOW_ISO if low else iso >= HIGH_ISO))
        return sorted(fitting, key=lambda iso: (abs(math.log(iso / usual)), iso))

    within = {float(iso) for iso in ISOS if (iso >= lowest if low else iso <= highest)}
    return best_first(known) + best_first(within - known) or [float(usual)]


def _new_long(pair: CheckedPair) -> Exposure:
    clipped = (pair.check.clipped or 0.0) > MAX_CLIPPED
    time = pair.long.seconds / LESS_EXPOSED if clipped else pair.long.seconds
    return Exposure(pair.long.iso, time)
