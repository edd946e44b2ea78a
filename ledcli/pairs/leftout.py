"""Why a frame is in no pair: one reason for each, in a photographer's words."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import LedError
from ledcli.pairs.frames import Frame, grouped
from ledcli.pairs.match import LEAST_RATIO, Found, could_be_pair

NOTHING_LONGER = (
    f"has no frame beside it of the same camera, aperture and focal length that is {LEAST_RATIO:g} "
    "times more or less exposed"
)


class LeftOut(NamedTuple):
    """A frame that is in no pair.

    Attributes
    ----------
    file : Path
    reason : str
        The end of a sentence about the file.
    failed : bool
        Whether the file could not be read at all.
    """

    file: Path
    reason: str
    failed: bool = False


def explain(
    frames: Sequence[Frame],
    found: Sequence[Found],
    pairs: Sequence[Found],
    left: dict[Path, LeftOut],
    *,
    keep_shifted: bool,
) -> None:
    """Give the reason for every frame that is in no pair.

    Parameters
    ----------
    frames : sequence of Frame
        All that were looked at and show something.
    found, pairs : sequence of Found
        Short and long frames of one scene; those of them that are good.
    left : dict
        The reasons so far; the new ones are added.
    keep_shifted : bool
        A shift is no reason.
    """
    paired = {frame for pair in pairs for frame in (pair.short, pair.long)}
    by_setting = grouped(frames, lambda frame: frame.setting)
    for pair in found:
        problems = ", ".join(pair.check.against(keep_shifted=keep_shifted))
        if not problems:
            continue
        for frame, role, other in (
            (pair.short, "long", pair.long),
            (pair.long, "short", pair.short),
        ):
            if frame not in paired:
                reason = f"with its {role} frame {other.file.name}: {problems}"
                left.setdefault(frame.file, LeftOut(frame.file, reason))
    for frame in frames:
        if frame in paired:
            continue
        others = by_setting[frame.setting]
        reason = NOTHING_LONGER
        if any(could_be_pair(frame, other) or could_be_pair(other, frame) for other in others):
            reason = "no frame that is more or less exposed shows its scene"
        left.setdefault(frame.file, LeftOut(frame.file, reason))


def reason_of(file: Path, error: LedError) -> str:
    """Return an error's text without the file's name, which stands before it anyway."""
    return str(error).removeprefix(f"{file}: ")
