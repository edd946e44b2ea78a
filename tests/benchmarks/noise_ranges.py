"""How many measured cameras lie within the noise that the bundled model is trained over.

    python tests/benchmarks/noise_ranges.py

darktable's users have measured gain and read variance of 433 cameras, ISO by ISO (GPL-3: only
counts leave that file). A profile is within a range when a camera could be drawn at its gain whose
read noise is as strong.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from report import RESULTS, SHARED, context, finish, head, parser_of, table

from ledcli.noise.cameras import (
    CALIBRATED_WHITE,
    VIRTUAL_GAIN,
    VIRTUAL_RANGES,
    WIDE_GAIN,
    WIDE_RANGES,
)
from ledcli.noise.physics import tukey_variance

GREEN = 1
SPREADS = 2.0
"""Standard deviations around a camera's own line that still count as drawn."""
COARSEST_STEP = 16.0
"""Quantisation of a 10-bit camera, DN of 14 bits."""


class Profile(NamedTuple):
    """One camera at one ISO, in 14-bit DN: gain K, and read noise (None: measured as none)."""

    camera: str
    gain: float
    read: float | None


def main() -> None:
    """Count, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--profiles", type=Path, default=SHARED / "cameras" / "darktable_noiseprofiles.json"
    )
    profiles = list(_profiles(json.loads(parser.parse_args().profiles.read_text())))
    cameras = {profile.camera for profile in profiles}
    ranges = {
        "published (five virtual cameras and most fresh ones)": (VIRTUAL_GAIN, VIRTUAL_RANGES),
        "wide (the other fresh ones)": (WIDE_GAIN, WIDE_RANGES),
    }
    results = {}
    for name, (gains, values) in ranges.items():
        outside = [p for p in profiles if not _within(p, gains, values)]
        results[name] = {
            "profiles": len(profiles) - len(outside),
            "cameras_wholly": len(cameras - {p.camera for p in outside}),
        }
    about = context() | {"profiles": len(profiles), "cameras": len(cameras)}
    rows = [
        [
            name,
            f"{row['profiles']} ({row['profiles'] / len(profiles):.1%})",
            f"{row['cameras_wholly']} of {len(cameras)}",
        ]
        for name, row in results.items()
    ]
    markdown = head("Noise ranges", about) + table(
        ["ranges", f"of {len(profiles)} profiles", "cameras with all of theirs"], rows
    )
    finish(RESULTS / "noise_ranges.json", about | {"ranges": results}, markdown)


def _profiles(database: Mapping) -> Iterator[Profile]:
    for maker in database["noiseprofiles"]:
        for model in maker["models"]:
            for profile in model["profiles"]:
                if profile.get("skip"):
                    continue
                variance = profile["b"][GREEN]
                yield Profile(
                    f"{maker['maker']} {model['model']}",
                    profile["a"][GREEN] * CALIBRATED_WHITE,
                    math.sqrt(variance) * CALIBRATED_WHITE if variance > 0 else None,
                )


def _within(
    profile: Profile, gains: tuple[float, float], values: Mapping[str, tuple[float, float]]
) -> bool:
    if not gains[0] <= profile.gain <= gains[1]:
        return False
    if profile.read is None:
        return True
    slopes = [slope * math.log(profile.gain) for slope in values["read_slope"]]
    shapes = [float(tukey_variance(torch.tensor(s)).sqrt().log()) for s in values["shape"]]
    spread = SPREADS * values["read_sigma"][1]
    least = min(slopes) + values["read_bias"][0] + min(shapes) - spread
    most = max(slopes) + values["read_bias"][1] + max(shapes) + spread
    return math.exp(least) <= profile.read <= math.hypot(math.exp(most), COARSEST_STEP / 12**0.5)


if __name__ == "__main__":
    main()
