"""A line of the manifest: one output as it was written."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

VERSION = 1
START = f'{{"v":{VERSION},"output":'
"""How a line of this version begins."""
_TIME_STEPS = (100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which disks round a file's time: NTFS, some network disks, exFAT, ext3, FAT."""
_NUMBERS = ("size", "mtime_ns", "source_size", "source_mtime_ns")


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and time of change in nanoseconds, by which a file is known again."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, state: os.stat_result) -> Self:
        """Return the stamp of what `os.stat` found."""
        return cls(state.st_size, state.st_mtime_ns)

    def still(self, now: "Stamp") -> bool:
        """Tell whether a file that had this stamp and has `now` the other is unchanged.

        A disk may have rounded the time since, as FAT does when it is taken out.
        """
        apart = abs(self.mtime_ns - now.mtime_ns)
        rounded = any(apart < step and now.mtime_ns % step == 0 for step in _TIME_STEPS)
        return self.size == now.size and (apart == 0 or rounded)


@dataclass(frozen=True)
class Entry:
    """One output as it was written; a line of the manifest.

    Attributes
    ----------
    output : str
        Its path relative to the root, with ``/``.
    source : str
        The photo's path, relative to the root where there is a way.
    source_stamp : Stamp
        Of the photo, taken before it was read.
    made_with : mapping
        The settings and the model; what JSON can hold.
    photo : mapping
        What choosing the model needs to know of the photo; what JSON can hold.
    output_stamp : Stamp
    """

    output: str
    source: str
    source_stamp: Stamp
    made_with: Mapping[str, object]
    photo: Mapping[str, object]
    output_stamp: Stamp

    def line(self) -> str:
        """Return the entry as one line of ASCII."""
        record = {
            "v": VERSION,
            "output": self.output,
            "size": self.output_stamp.size,
            "mtime_ns": self.output_stamp.mtime_ns,
            "source": self.source,
            "source_size": self.source_stamp.size,
            "source_mtime_ns": self.source_stamp.mtime_ns,
            "made_with": self.made_with,
            "photo": self.photo,
        }
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """Return the entry of a line; None if it is none, or of another version."""
        try:
            record = json.loads(line)
            if record["v"] != VERSION:
                return None
            stamps = [record[key] for key in _NUMBERS]
            texts = [record["output"], record["source"]]
            maps = [record["made_with"], record["photo"]]
        except (ValueError, RecursionError, KeyError, TypeError):
            return None
        good = (
            all(type(n) is int for n in stamps)
            and all(type(t) is str for t in texts)
            and all(type(m) is dict for m in maps)
        )
        if not good:
            return None
        (output, source), (made_with, photo) = texts, maps
        return cls(output, source, Stamp(*stamps[2:]), made_with, photo, Stamp(*stamps[:2]))
