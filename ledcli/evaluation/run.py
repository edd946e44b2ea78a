"""A run of `led evaluate`: the dataset, the models, the frames, here or on a cluster."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

from ledcli.batch.cluster_actor import Moved, Start
from ledcli.batch.settings import Engine, Quality
from ledcli.errors import LedError, UsageError
from ledcli.evaluation.datasets import read_dataset
from ledcli.evaluation.datasets.base import Case, DatasetOptions, Source
from ledcli.evaluation.evaluate import (
    MeasuredFrame,
    check_candidates,
    collect,
    load_candidates,
    measure,
    picture_models,
)
from ledcli.evaluation.results import Evaluation
from ledcli.raw.decoder import decoders
from ledcli.raw.reader import read_raw
from ledcli.reporting import SILENT, Reporter, Silent, Stop, Stoppable, count, never_stop
from ledcli.zoo.selection import FAST_CHOOSES, default_name


def evaluate(
    paths: Mapping[str, str | Path | None],
    options: DatasetOptions,
    *,
    quality: Quality = Quality.STANDARD,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    ray: str | None = None,
    on_frame: Callable[[MeasuredFrame], None] = lambda measured: None,
    stoppable: Stoppable = never_stop,
    report: Reporter = SILENT,
) -> Evaluation:
    """Measure ``options.models`` on the one dataset that is given (see `read_dataset`).

    `ray` is the address of a cluster that measures the frames. `on_frame` receives each frame,
    those that cannot be measured first. Raises UsageError for models beside the quality ``fast``,
    which is a model of its own.
    """
    if quality == Quality.FAST and options.models:
        raise UsageError(FAST_CHOOSES.format("the models"))
    source = read_dataset(paths, options)
    if not options.models:
        name = default_name(_sensor_of(source), fast=quality == Quality.FAST)
        options = replace(options, models=[name])
    # For a cluster the models are loaded for their names and kinds only.
    candidates = load_candidates(options.models, engine if ray is None else Engine("cpu"))
    for note in {note: None for each in candidates for note in each.denoiser.notes}:
        report.warn(note)
    check_candidates(source, candidates)
    if makers := picture_models(candidates):
        report.info(
            f"{', '.join(makers)} makes pictures straight from the raw: all sRGB figures are of "
            "full-size pictures, compared with LibRaw's"
        )
    for line in source.skipped:
        on_frame(MeasuredFrame(None, error=LedError(line)))
    frames = count(len(source.cases), "frame")
    report.info(f"{source.name}: {frames}, {count(len(candidates), 'model')}")
    ensemble = quality == Quality.BEST

    def measured(stop: Stop) -> Generator[MeasuredFrame, None, None]:
        if ray is None:
            for case in takewhile(lambda _: not stop(), source.cases):
                yield measure(case, candidates, report, ensemble)
            return
        from ledcli.batch.cluster import Cluster

        raws = [case.raws.short for case in source.cases[:1] if case.raws]
        seen = [*(Path(path) for path in paths.values() if path is not None), *raws]
        work = partial(_CaseWork, options.models, engine, ensemble)
        start = Start.of(work, seen, options.models)
        with Cluster(ray, report, gpus=engine.device != "cpu") as cluster:
            report.info(cluster.description)
            client = _Cases(source.cases, report)
            yield from cluster.run(client, len(source.cases), start, stop)

    def show(frame: MeasuredFrame) -> None:
        on_frame(frame)
        bar.advance(note=frame.case.name if frame.case else "")

    with (
        stoppable() as stop,
        report.progress(len(source.cases), "measuring", "frames") as bar,
        contextlib.closing(measured(stop)) as found,
    ):
        return collect(source, candidates, found, show)


def _sensor_of(source: Source) -> str:
    """Return the kind of sensor of the first raw that can be read; other frames are Bayer ones."""
    for pair in (case.raws for case in source.cases if case.raws):
        with contextlib.suppress(LedError, MemoryError):
            return decoders.run(read_raw, pair.short).cfa
    return "bayer"


class _CaseWork:
    """Measures frames in a worker of the cluster, one after the other as here."""

    def __init__(self, models: Sequence[str], engine: Engine, ensemble: bool) -> None:
        self._candidates, self._ensemble = load_candidates(models, engine), ensemble
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, case: Case, moved: Moved) -> tuple[MeasuredFrame, list[str]]:
        warnings = _Warnings()
        measuring = self._thread.submit(measure, case, self._candidates, warnings, self._ensemble)
        return measuring.result(), warnings.texts


class _Warnings(Silent):
    """Keeps warnings for the driver."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: object) -> None:
        self.texts.append(str(text))


class _Cases:
    """The driver's side: a task is a case, and an answer has its frame and the warnings."""

    def __init__(self, cases: Sequence[Case], report: Reporter) -> None:
        self._cases, self._report = cases, report

    def task(self, number: int, attempt: contextlib.ExitStack) -> Case:
        return self._cases[number]

    def done(self, number: int, answer: tuple[MeasuredFrame, list[str]]) -> MeasuredFrame:
        frame, warnings = answer
        for warning in warnings:
            self._report.warn(warning)
        return frame

    def lost(self, number: int, why: str) -> MeasuredFrame:
        return MeasuredFrame(self._cases[number], error=LedError(why))

    def moved(self, number: int, size: int, share: float) -> None:
        """Ignore it: the bar counts frames."""
