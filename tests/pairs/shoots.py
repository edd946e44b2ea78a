"""Made-up shoots as frame records, without raws; and the plain way to find a frame's candidates."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ledcli.pairs.checks import SAME_SCENE
from ledcli.pairs.frames import Frame, FrameSummary
from ledcli.pairs.scan import (
    MAX_CANDIDATES,
    MAX_RATIO,
    MIN_DEVIATIONS,
    MIN_RATIO,
    MIN_SIMILARITY,
    SIMILAR_LEVEL,
)
from ledcli.pairs.similarity import Signature
from ledcli.raw.exif import Exif

SHAPE = (4000, 6000)
LENSES = ((35.0, 4.0), (50.0, 4.0), (50.0, 8.0))
"""Focal lengths and apertures of a shoot."""


def shoot(count, rng, *, frames_per_scene=14, lenses=LENSES, bins=(42, 64), flawed=False):
    """Make the frames of a shoot, in the order of their names, and what they show.

    Every scene is shot from a tripod: long frames, short ones at ratios 100 and 300 and several
    ISOs, a bracket, and a series of one exposure. Of a ``flawed`` shoot some frames have no date,
    another size, or no structure.
    """
    frames, summaries, now = [], {}, datetime(2024, 5, 6, 20)
    while len(frames) < count:
        focal, aperture = lenses[rng.integers(len(lenses))]
        scene = rng.standard_normal(bins[0] * bins[1], np.float32)
        brightest = 1000 * 2.0 ** rng.integers(-2, 2)
        for _ in range(min(frames_per_scene, count - len(frames))):
            now += timedelta(seconds=int(rng.integers(0, 90)))
            iso = float(rng.choice([100, 400, 1600, 6400]))
            darker = rng.choice([1, 1, 100, 300, 2, 4, 16, 50])
            series = rng.integers(1, 4)
            for _ in range(min(series, count - len(frames))):
                now += timedelta(seconds=int(rng.integers(0, 3)))
                file = Path(f"IMG_{len(frames):05}.ARW")
                dated = None if flawed and rng.random() < 0.2 else f"{now:%Y:%m:%d %H:%M:%S}"
                exif = Exif(
                    make="SONY",
                    model="ILCE-7SM2",
                    iso=iso,
                    exposure_time=float(brightest / darker / iso),
                    aperture=aperture,
                    focal_length=focal,
                    datetime=dated,
                )
                frame = Frame(file, exif)
                frames.append(frame)
                noise = float(darker) ** 0.5 * rng.uniform(0.05, 0.25)
                vector = scene + noise * rng.standard_normal(scene.size, np.float32)
                vector /= np.linalg.norm(vector)
                smooth = flawed and rng.random() < 0.05
                small = flawed and rng.random() < 0.1
                summaries[frame] = FrameSummary(
                    (2000, 3000) if small else SHAPE,
                    Signature(0 * vector if smooth else vector, 1 / (1 + noise**2)),
                    dark=False,
                )
    return frames, summaries


def candidates_one_by_one(short, frames, summaries):
    """Find the long frames that may belong to a short one by looking at every other frame."""
    own = summaries[short]
    least = max(MIN_SIMILARITY, MIN_DEVIATIONS / max(own.signature.vector.size, 1) ** 0.5)
    similar = []
    for frame in frames:
        fits = MIN_RATIO <= frame.level / short.level <= MAX_RATIO
        if fits and frame.setting == short.setting and summaries[frame].shape == own.shape:
            similarity = own.signature.similarity(summaries[frame].signature)
            if similarity >= least:
                similar.append((frame, similarity))
    certain = [entry for entry in similar if entry[1] >= SAME_SCENE]
    highest = max((frame.level for frame, _ in certain), default=0.0)

    def order(entry):
        frame, similarity = entry
        less = frame.level * SIMILAR_LEVEL < highest
        return less, -frame.level if less else seconds_between(short, frame), -similarity

    by_likeness = sorted(similar, key=lambda entry: -entry[1])
    ordered = sorted(certain, key=order) if certain else by_likeness
    return [frame for frame, _ in ordered[:MAX_CANDIDATES]]


def seconds_between(one, other):
    """Seconds between two shots; infinite where one has no date."""
    if not (one.exif.datetime and other.exif.datetime):
        return float("inf")
    times = [datetime.strptime(f.exif.datetime, "%Y:%m:%d %H:%M:%S") for f in (one, other)]
    return abs((times[0] - times[1]).total_seconds())
