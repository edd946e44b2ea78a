"""What a worker of a Ray cluster runs: an actor on one device of a node, in its own process."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Self

import ledcli
from ledcli.errors import DeviceError, LedError, ModelError
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.store import find_model, installed_models

DEPTH = 3
"""Tasks in an actor at once: a photo is read, one is in the network, and one is written."""
CARRIED = ("LED_HOME", "SOURCE_DATE_EPOCH")
"""Variables that actors take from the driver: where models are, and the date in records."""

Moved = Callable[[int, float], None]
"""Receives a task's size, such as its pixels, and the share of it that is done."""
Work = Callable[[Any, Moved], object]
"""Does a task in an actor and returns its answer; called by several threads at once."""


class NodeProblem(Exception):
    """A node cannot do its tasks, which others may: it is not used any more."""


class Start(NamedTuple):
    """What an actor is started with; all of it is plain data but `make`."""

    version: str
    folder: str
    """The driver's working folder: relative paths are the same everywhere."""
    environment: Mapping[str, str]
    """Of the driver's, what `CARRIED` names."""
    seen: tuple[str, ...]
    """Paths that exist."""
    models: Mapping[str, str]
    """The hashes of the models that the run may use, by `model_hashes`."""
    names: tuple[str, ...]
    """What `model_hashes` was given."""
    make: bytes
    """A pickled function that returns the work."""

    @classmethod
    def of(
        cls, make: Callable[[], Work], seen: Iterable[os.PathLike[str]], models: Iterable[object]
    ) -> Self:
        """Return the start of actors that do `make`'s work with models; none means any."""
        names = tuple(map(str, models))
        return cls(
            ledcli.__version__,
            os.getcwd(),
            {name: os.environ[name] for name in CARRIED if name in os.environ},
            tuple(map(os.fspath, seen)),
            model_hashes(names),
            names,
            pickle.dumps(make),
        )


class Actor:
    """Does tasks on one device of a node, in a process of its own."""

    def __init__(self, threads: int) -> None:
        # Before torch is imported; the decoding processes inherit it.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._progress: dict[int, tuple[int, float]] = {}
        self._work: Work | None = None

    def prepare(self, *given: Any) -> object:  # noqa: ANN401
        """Get ready; returns None, or the error. Takes a `Start`, or what another led has."""
        try:
            if not given or given[0] != ledcli.__version__:
                raise NodeProblem(f"has led {ledcli.__version__}, not {given[0]}")
            start = Start(*given)
            with contextlib.suppress(OSError):
                os.chdir(start.folder)
            os.environ.update(start.environment)
            for path in start.seen:
                if not os.path.exists(path):
                    raise NodeProblem(
                        f"does not see {path}: all machines need the folders under the same paths"
                    )
            differing = start.models.items() ^ model_hashes(start.names).items()
            if differing:
                names = ", ".join(sorted({name for name, _ in differing}))
                raise NodeProblem(f"has other models than this machine ({names}): copy them there")
            self._work = pickle.loads(start.make)()
        except (LedError, ImportError, OSError) as error:  # another node may have what is missing
            return NodeProblem(f"cannot start: {error}")
        except Exception as error:
            return error
        return None

    def do(self, number: int, task: object) -> tuple[object, BaseException | None]:
        """Return the answer of a task, or its error."""
        assert self._work is not None
        try:
            return self._work(task, partial(self._moved, number)), None
        except DeviceError as error:
            return None, NodeProblem(f"cannot work: {error}")
        except Exception as error:
            return None, error
        finally:
            self._progress.pop(number, None)

    def progress(self) -> dict[int, tuple[int, float]]:
        """Return size and share of the tasks in work."""
        return self._progress.copy()

    def _moved(self, number: int, size: int, share: float) -> None:
        self._progress[number] = size, share


def model_hashes(names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of models by name; without names, of all that are installed."""
    found = {}
    for name, path in [(name, None) for name in names] or installed_models():
        with contextlib.suppress(ModelError):  # reported where it is used
            found[name] = file_sha256(path or find_model(name).path)
    return found
