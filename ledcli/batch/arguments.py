"""Arguments of the Python API: converted to what the command line makes of its options."""

from collections.abc import Callable, Sequence
from enum import EnumMeta
from operator import index
from pathlib import Path
from typing import Any, TypeVar

from ledcli.batch.settings import checked_noise
from ledcli.errors import UsageError

Kind = TypeVar("Kind")


def converted(
    kind: Callable[[Any], Kind], value: object, name: str, takes: str = "a number"
) -> Kind:
    """Return an argument as ``kind(value)``; UsageError says what it takes (an enum its values)."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        values = ", ".join(map(str, kind)) if isinstance(kind, EnumMeta) else takes
        raise UsageError(f"{name} takes {values}, not {value!r}") from None


def number_or_none(value: object, name: str) -> float | None:
    """Return a float, as on the command line: a record of 100 would differ from one of 100.0."""
    return None if value is None else converted(float, value, name, "a number or None")


def numbers(value: object, name: str) -> list[float]:
    """Return one number or several as floats; raises UsageError."""
    return converted(lambda given: list(map(float, several(given))), value, name, "numbers")


def steps_or_none(value: object) -> int | None:
    """Return a whole number; raises UsageError."""
    return None if value is None else converted(index, value, "steps", "a whole number or None")


def noise_or_none(value: object) -> tuple[float, float] | None:
    """Return `Settings.noise`; raises UsageError."""
    if value is None:
        return None
    pair = converted(lambda given: list(map(float, given)), value, "noise", "two numbers or None")
    gain, read = pair if len(pair) == 2 and not isinstance(value, str) else (-1.0, -1.0)
    return checked_noise(gain, read, value)


def several(value: Any) -> Sequence[Any]:  # noqa: ANN401
    """Return what may be one text, path or number instead of a sequence as a sequence."""
    return [value] if isinstance(value, str | Path | int | float) else value
