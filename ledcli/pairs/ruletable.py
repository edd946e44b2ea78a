"""The rule for every camera and ratio of a scan or a list, dropped pairs' ratios included."""

from collections.abc import Sequence

from ledcli.pairs.checks import LARGEST_CLIPPED
from ledcli.pairs.exposures import Exposure
from ledcli.pairs.frames import Frame, grouped
from ledcli.pairs.match import Found
from ledcli.pairs.ratios import nominal_ratio
from ledcli.pairs.rule import RatioRule, rule_for

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
