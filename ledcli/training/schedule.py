"""How long and how fast a training goes, and what it says on the way."""

import json
import math
from dataclasses import dataclass


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

    def progress(self, step: int, seconds: float) -> float:
        """Return the part of the training that is done, 0 to 1."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.iterations, by_time))

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate of a step."""
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        return self.learning_rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


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
