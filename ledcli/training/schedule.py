"""How long and how fast a training goes, and what it says on the way."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

ALL = "all"
"""The group of parameters that a schedule without phases trains."""


class Phase(NamedTuple):
    """A part of a training: up to which progress, and the groups it trains at which peak rates."""

    until: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    iterations : int
        Steps in all, unless ``minutes`` is over first.
    minutes : float or None
        Time budget: progress is then whichever of the two is further.
    learning_rate : float
        Peak rate of Adam; cosine to a hundredth of it.
    phases : tuple of Phase
        Parts with groups and rates of their own, each a cosine; they go before `learning_rate`.
    warm_up : int
        Steps over which the rate rises to its peak.
    clip : float
        Largest gradient norm.
    ema : float
        Decay of the average per step; lower at the start, where there is little to average.
    """

    iterations: int
    minutes: float | None = None
    learning_rate: float = 4e-4
    warm_up: int = 200
    clip: float = 1.0
    ema: float = 0.999
    phases: tuple[Phase, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the schedule as JSON values, for the record."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def progress(self, step: int, seconds: float) -> float:
        """Return the part of the training that is done, 0 to 1."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.iterations, by_time))

    def rates(self, step: int, progress: float) -> dict[str, float]:
        """Return the learning rate of each group that a step trains."""
        begun = 0.0
        for phase in self.phases or (Phase(1.0, {ALL: self.learning_rate}),):
            if progress < phase.until or phase.until >= 1:
                break
            begun = phase.until
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        share = (progress - begun) / (phase.until - begun)
        fall = 0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2
        return {group: peak * rise * fall for group, peak in phase.rates.items()}

    def rate(self, step: int, progress: float) -> float:
        """Return the highest learning rate of a step."""
        return max(self.rates(step, progress).values())


@dataclass(frozen=True)
class LogLine:
    """What happened up to a step; ``validation`` is empty between validations."""

    step: int
    progress: float
    loss: float
    learning_rate: float
    seconds: float
    seconds_left: float
    validation: dict[str, float]

    def as_json(self) -> str:
        """Return the line of JSON that goes into the log file."""
        plain = {k: v for k, v in vars(self).items() if k != "validation"} | self.validation
        return json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()})
