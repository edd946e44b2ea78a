"""The rule for every camera and ratio of a scan or a list, dropped pairs' ratios included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ledcli.pairs.checks import LARGEST_CLIPPED
from ledcli.pairs.exposure import ISOS, ROUND, SHUTTERS, Exposure, best_short, nominal_ratio
from ledcli.pairs.frames import Frame, grouped
from ledcli.pairs.match import Found

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


COLUMNS = ("CAMERA", "RATIO", "PAIRS", "ISO", "RULE")
UNKNOWN = "unknown camera"
LESS_EXPOSED = 4.0
"""How much less a long frame should be exposed than a clipped one."""


def rules_of(
    pairs: Sequence[Found], dropped: Sequence[Found], frames: Sequence[Frame]
) -> list[RatioRule]:
    """Hold pairs against the rule.

    Parameters
    ----------
    pairs : sequence of Found
        The good ones.
    dropped : sequence of Found
        Those that something speaks against. Their ratios are wanted as well.
    frames : sequence of Frame
        All that there are, those of the pairs among them.

    Returns
    -------
    list of RatioRule
        One for each body and ratio, in that order.
    """
    bodies: dict[str, set[str]] = {}
    for frame in frames:
        model, serial = frame.camera
        bodies.setdefault(model, set()).update({serial} - {""})

    def body_of(frame: Frame) -> tuple[str, str]:
        # A frame that does not say its body is of the only one there is.
        model, serial = frame.camera
        only = bodies[model] if len(bodies[model]) == 1 else {""}
        return model, serial or next(iter(only))

    def row_of(pair: Found) -> tuple[tuple[str, str], float]:
        return body_of(pair.short), nominal_ratio(pair.check.ratio)

    good, bad = grouped(pairs, row_of), grouped(dropped, row_of)
    rules = []
    for row in sorted({*good, *bad}):
        body, ratio = row
        mine, others = good.get(row, []), bad.get(row, [])
        exif = (mine + others)[0].short.exif
        rule = rule_for(
            exif.camera or UNKNOWN,
            ratio,
            [(pair.short, pair.long) for pair in mine],
            [frame for frame in frames if body_of(frame) == body],
            scenes=[pair.long for pair in others if _only_shifted(pair)],
            long=next((_new_long(pair) for pair in others if pair.long.level), None),
            serial=body[1] or None,
        )
        rules.append(rule)
    return rules


def rows_of(rules: Sequence[RatioRule]) -> list[tuple[object, ...]]:
    """Rows of the table under `COLUMNS`."""
    return [
        (
            name,
            f"{rule.ratio:g}",
            rule.pairs,
            ", ".join(f"{iso:g}" for iso in rule.isos) or "-",
            "holds" if rule.holds else "does not hold: see below",
        )
        for name, rule in zip(_names(rules), rules, strict=True)
    ]


def lines_of(rules: Sequence[RatioRule]) -> list[str]:
    """Lines below the table: what to shoot where the rule does not hold."""
    return [
        f"{'' if rule.instead else 'shoot for '}{name}, ratio {rule.ratio:g}: {line}"
        for name, rule in zip(_names(rules), rules, strict=True)
        for line in rule.advice
    ]


def _names(rules: Sequence[RatioRule]) -> list[str]:
    """Name the camera of each rule; bodies of one model by their serial numbers as well."""
    bodies: dict[str, set[str | None]] = {}
    for rule in rules:
        bodies.setdefault(rule.camera.casefold(), set()).add(rule.serial)
    return [
        f"{rule.camera} (serial {rule.serial or 'unknown'})"
        if len(bodies[rule.camera.casefold()]) > 1
        else rule.camera
        for rule in rules
    ]


def _only_shifted(pair: Found) -> bool:
    """Whether the long frame as such is good."""
    return not pair.check.against(keep_shifted=True)


def _new_long(pair: Found) -> Exposure:
    """Exposure of the frame to shoot instead of a pair's long one."""
    clipped = (pair.check.clipped or 0.0) > LARGEST_CLIPPED
    time = pair.long.seconds / LESS_EXPOSED if clipped else pair.long.seconds
    return Exposure(pair.long.iso, time)
