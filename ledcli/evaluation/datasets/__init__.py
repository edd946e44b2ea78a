"""The data sets that models can be measured on.

A new layout is a function in a file beside this one, a line in `DATASETS`, and an option of its
name in cli/evaluate.py.
"""

from collections.abc import Mapping
from pathlib import Path

from ledcli.errors import UsageError
from ledcli.evaluation.datasets.base import Dataset, DatasetOptions, Source, listed
from ledcli.evaluation.datasets.folders import eld, sid
from ledcli.evaluation.datasets.photographs import photographs

DATASETS = {
    "sid": Dataset(sid, options=("list_file",)),
    "eld": Dataset(eld),
    "pairs": Dataset(listed),
    "photos": Dataset(photographs, options=("cameras", "gains")),
}
"""By the name of the option of `led evaluate`, without dashes."""


def read_dataset(paths: Mapping[str, str | Path | None], options: DatasetOptions) -> Source:
    """Read the one data set that is given; `paths` are by name in `DATASETS`.

    Raises UsageError if none or several are given, an option is of another data set, or no frame
    is wanted, and PairError if a list of pairs is wrong.
    """
    given = {name: path for name, path in paths.items() if path is not None}
    if len(given) > 1:
        named = " and ".join(f"--{name}" for name in given)
        raise UsageError(f"{named} exclude each other: use one of them")
    if not given:
        names = [f"--{name}" for name in DATASETS]
        raise UsageError(f"name what to measure on: one of {', '.join(names[:-1])} and {names[-1]}")
    ((name, path),) = given.items()
    for other, dataset in DATASETS.items():
        for option in set(dataset.options) - set(DATASETS[name].options):
            if getattr(options, option):
                option = option.removesuffix("_file")
                raise UsageError(f"--{option} is for --{other} only: leave it out")
    source = DATASETS[name].read(Path(path), options)
    if not source.cases and not source.skipped:
        ratios = ",".join(f"{ratio:g}" for ratio in options.ratios)
        raise UsageError(f"{path}: has no frame of ratio {ratios}: leave --ratios out")
    return source
