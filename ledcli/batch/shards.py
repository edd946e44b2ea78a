"""Shards: parts of a run that several processes or machines do, each photo in one of them."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ledcli.batch.plan import alike
from ledcli.errors import UsageError
from ledcli.raw.inputs import FoundRaw

MAX_SHARDS = 1_000_000
_ARRAYS = ("SLURM_ARRAY_TASK_ID", "AWS_BATCH_JOB_ARRAY_INDEX", "PBS_ARRAY_INDEX", "PBS_ARRAYID")
_NAME = re.compile(r"(\d{1,7})-of-(\d{1,7})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Part `index`, from 0, of `count` parts of a run."""

    index: int
    count: int
    given: str = field(default="", compare=False)
    """How, if not by its numbers: `` (SLURM_ARRAY_TASK_ID 7)``."""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """As a part of a file name: ``0-of-4``."""
        return f"{self.index}-of-{self.count}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Parse a `name`; return None if it is not a shard's."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None

    def has(self, raw: FoundRaw) -> bool:
        """Return whether a photo belongs to the shard.

        By a hash of its path below the folder that was named, so that it is the same on every
        machine, wherever that mounts the folder, and whichever other photos there are.
        """
        path = alike((raw.subfolder / raw.file.name).as_posix())
        digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index


def parse_shard(text: str, environ: Mapping[str, str] = os.environ) -> Shard:
    """Return the shard that ``I/N`` means, or for ``auto`` this task of a job array.

    Raises UsageError for invalid text, and for an array that does not say how many tasks it has.
    """
    if text == "auto":
        return _array_task(environ)
    index, _, count = text.partition("/")
    if not (text.isascii() and index.isdigit() and count.isdigit()):
        raise UsageError(f"--shard {text}: must be I/N, such as 0/4 for the first of four, or auto")
    return _checked(int(index[:9]), int(count[:9]), f"--shard {text}")


def array_variable(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the variable by which a job array numbers its tasks; None if this is no such task."""
    return next((name for name in _ARRAYS if name in environ), None)


def _array_task(environ: Mapping[str, str]) -> Shard:
    name = array_variable(environ)
    if name is None:
        raise UsageError(
            "--shard auto: not running in a job array (SLURM, AWS Batch): use --shard I/N"
        )
    task, first = _number(environ, name), 0
    if name == "SLURM_ARRAY_TASK_ID":
        first, last, count = (
            _number(environ, f"SLURM_ARRAY_TASK_{each}") for each in ("MIN", "MAX", "COUNT")
        )
        # Not SLURM_ARRAY_TASK_STEP: for a list of numbers it says nothing.
        step = (last - first) // (count - 1) if count > 1 else 1
        if step < 1 or first + step * (count - 1) != last or (task - first) % step:
            raise UsageError(
                f"--shard auto: the numbers of the SLURM array, {count} from {first} to {last}, "
                "have gaps: use --shard I/N"
            )
        task = (task - first) // step
    elif name == "AWS_BATCH_JOB_ARRAY_INDEX":
        count = _number(environ, "AWS_BATCH_JOB_ARRAY_SIZE")
    else:
        raise UsageError(
            "--shard auto: PBS does not say how many tasks an array has: use "
            f"--shard ${name}/N for tasks 0 to N-1"
        )
    return _checked(task, count, "--shard auto", f" ({name} {environ[name]})")


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"--shard auto: {name} is '{text}', not a number: use --shard I/N")
    return int(text)


def _checked(index: int, count: int, what: str, given: str = "") -> Shard:
    if not 0 <= index < count <= MAX_SHARDS:
        raise UsageError(
            f"{what}: no part {index} of {count}: parts are 0 to N-1, and N is at most {MAX_SHARDS}"
        )
    return Shard(index, count, given)
