"""A run of `led denoise`: which photos, under which names, by which models; then denoising them.

What is missing or changed is denoised, under the locks of the output folders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ledcli.batch.cluster_join import check_address
from ledcli.batch.darks import UNFIT, DarkFrames
from ledcli.batch.folders import Hold, check_space, folder_locks, remove_leftovers
from ledcli.batch.manifest import Manifests
from ledcli.batch.pipeline import Pipeline
from ledcli.batch.plan import DENOISED, PlannedPhoto, plan_names, plan_photos, split_results
from ledcli.batch.settings import (
    DenoiseOptions,
    Engine,
    Job,
    Quality,
    Result,
    Settings,
    Status,
    choose_formats,
)
from ledcli.batch.shards import Shard, array_variable, parse_shard
from ledcli.errors import NoRawsError, OutputError, RawError, UsageError
from ledcli.inference.backends import choose_backend
from ledcli.raw.inputs import FoundRaw, find_raws
from ledcli.reporting import SILENT, Reporter, Stop
from ledcli.zoo.selection import FAST_CHOOSES, FAST_INT8, Chooser, NamedModel, chooser_of

if TYPE_CHECKING:
    from ledcli.inference.denoiser import DenoiserCache

LONG_RUN_S = 60.0
"""Seconds of network time in a run from which the fast model is suggested on a slow processor."""


@dataclass
class DenoiseRun:
    """A planned run over photos: `preview` shows what it would do, `run` does it."""

    jobs: list[Job]
    """One per photo, with the files to write."""
    settings: Settings
    chooser: Chooser
    engine: Engine = field(default_factory=Engine)
    overwrite: bool = False
    """Denoise all, not only what is missing or changed."""
    manifests: Manifests = field(default_factory=Manifests)
    rejected: list[Result] = field(default_factory=list)
    """Inputs that cannot be denoised, or were already, with the reason."""
    shard: Shard | None = None
    """The part of a run that this is; the jobs are those of its photos."""
    denoisers: DenoiserCache | None = None
    """The models in memory, for another run; by default it loads its own."""
    ray: str | None = None
    """The address of a Ray cluster that makes the photos; see `batch.cluster_join`."""
    _slow: bool = False
    """Whether the network runs on a processor without fast bfloat16, and no result says so."""

    def preview(self) -> list[Result]:
        """Return what would become of each photo; writes nothing and loads no network.

        Raises UsageError, as `run` does, if the engine that was asked for does not exist, and as
        `DarkFrames.measured`.
        """
        planned = self._plan()
        if any(photo.make for photo in planned):
            if dark := self.settings.dark:
                dark.measured(force=self.settings.force_read)
            if self.ray is None:
                self.engine.check()
        return list(map(_untouched, self.jobs, planned))

    def _plan(self) -> list[PlannedPhoto]:
        how = self.settings, self.chooser, self.manifests, self.overwrite
        return plan_photos(self.jobs, *how)

    def _suggest_fast(self, result: Result) -> None:
        """Suggest the fast model, once, if it would save a long run much time."""
        seconds = result.seconds.get("network", 0.0)
        long = seconds * len(self.jobs) >= LONG_RUN_S
        if self._slow and long and self.chooser.has_faster(result.model):
            self._slow = False
            result.suggestion = (
                f"the network takes {seconds:.0f} s a photo on this processor: "
                "--quality fast is 3 to 5 times as fast, at a lower quality"
            )

    def run(self, *, stop: Stop = lambda: False, report: Reporter = SILENT) -> Iterator[Result]:
        """Denoise what is missing or changed; a photo that fails does not stop the others.

        Yields a result for each photo, in the order of the jobs, as soon as it is written. `stop`
        is called between photos, in another thread; once it returns True, the photos in work are
        finished and the others not started. `report` gets progress and messages about the run as a
        whole. Raises OutputError if an output folder cannot be written to, or has too little space;
        UsageError or ModelError if the engine or the model does not exist.
        """
        remove_leftovers(self.jobs)
        planned = self._plan()
        if not any(photo.make for photo in planned):
            # Nothing to do: no lock to wait for, no network to load.
            yield from map(_untouched, self.jobs, planned)
            return

        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(report.progress(None, "denoising", "MP"))
            missing = (job for job, photo in zip(self.jobs, planned, strict=True) if photo.make)
            engine, make = self._begin(next(missing), stack, report)
            from ledcli.batch.output_writer import OutputWriter

            roots = {job.root for job in self.jobs}
            locks = folder_locks(roots, report.info, stop, shard=self.shard)
            if not (holds := stack.enter_context(locks)):
                yield from (Result(job.source, undone=Status.NOT_STARTED) for job in self.jobs)
                return
            # For good; another run loads its own.
            stack.callback(setattr, self, "manifests", Manifests())
            stack.callback(self.manifests.close)
            if self.manifests.refresh():
                # Another run has written since.
                planned = self._plan()
            for root, hold in holds.items():
                name = self.shard.name if self.shard else None
                self.manifests[root].begin(name, exclusive=hold is Hold.EXCLUSIVE)
            to_make = [
                replace(job, outputs={name: job.outputs[name] for name in photo.make})
                for job, photo in zip(self.jobs, planned, strict=True)
                if photo.make
            ]
            if warning := check_space(to_make, self.settings):
                report.info(warning)
            if to_make:
                of = f" of {len(self.jobs)}" if len(to_make) < len(self.jobs) else ""
                photos = "photo" if len(self.jobs) == 1 else "photos"
                report.info(f"{len(to_make)}{of} {photos}, {engine}")
            writer = OutputWriter(self.manifests, self.settings, report.info)
            stack.callback(writer.close)
            made = make(to_make, writer, lambda: stop() or writer.broken is not None, bar)
            stack.enter_context(contextlib.closing(made))
            shown: set[str] = set()
            for job, photo in zip(self.jobs, planned, strict=True):
                if not photo.make:
                    yield _untouched(job, photo)
                    continue
                result = next(made, None)
                if result is None and writer.broken is None:
                    # Stopped; what is up to date is still reported.
                    yield Result(job.source, undone=Status.NOT_STARTED)
                    continue
                if result is None:
                    result = Result(job.source, error=OutputError(f"{job.source}: {writer.broken}"))
                result.outputs += photo.kept
                # A skipped model is skipped for every photo.
                result.warnings = [text for text in result.warnings if text not in shown]
                shown.update(result.warnings)
                self._suggest_fast(result)
                yield result

    def _begin(
        self, first: Job, stack: contextlib.ExitStack, report: Reporter
    ) -> tuple[str, Callable[..., Generator[Result, None, None]]]:
        """Begin with the first photo or join the cluster; return what runs it, and makes photos."""
        if dark := self.settings.dark:
            dark = dark.measured(report, force=self.settings.force_read)
            self.settings = replace(self.settings, dark=dark)
        if self.ray is not None:
            from ledcli.batch.cluster_photos import ClusterPhotos

            how = self.settings, self.chooser, self.engine
            cluster = stack.enter_context(ClusterPhotos(self.ray, *how, report))
            return cluster.description, cluster.run
        pipeline = stack.enter_context(contextlib.closing(Pipeline(self.settings)))
        # Decoded in a process of its own while this one imports torch.
        pipeline.begin(first)
        from ledcli.batch.photo import PhotoStages
        from ledcli.inference.denoiser import DenoiserCache

        denoisers = self.denoisers or DenoiserCache(*self.engine)
        self._slow = denoisers.slow and self.settings.quality == Quality.STANDARD
        stages = partial(PhotoStages, self.settings, self.chooser, denoisers)
        return denoisers.description, lambda jobs, writer, stop, bar: pipeline.run(
            jobs, stages(writer), stop, bar
        )


def plan_denoise(options: DenoiseOptions, report: Reporter = SILENT) -> DenoiseRun:
    """Find the photos, name their outputs, and decide where models come from.

    Raises UsageError for options that exclude each other, ModelError if there is no such model, and
    NoRawsError if there are no raws, unless more may come in a watch.
    """
    settings = options.settings
    if options.ray is not None:
        check_address(options.ray)
    fast = settings.quality == Quality.FAST
    if fast and options.model is not None:
        raise UsageError(FAST_CHOOSES.format("--model"))
    shard = None if options.shard is None else parse_shard(options.shard)
    chooser = chooser_of(options.model, fast)
    named = chooser if isinstance(chooser, NamedModel) else None
    pictures = named.chosen.name if named and named.spec.makes_pictures else None
    formats = choose_formats(options.formats, settings, pictures)
    if pictures and not options.formats:
        report.info(f"{pictures} makes pictures straight from the raw: writing PNG")
    chooser.check_steps(settings.steps)
    rejected: list[Result] = []
    raws: list[FoundRaw] = []
    with contextlib.suppress(NoRawsError) if options.watch else contextlib.nullcontext():
        raws = find_raws(
            [str(path) for path in options.paths],
            recursive=options.recursive,
            problem=lambda error: rejected.append(Result(None, error=error)),
            note=report.warn,
            out=options.out,
        )
    sources = raws
    if dark := settings.dark or DarkFrames.find(options.dark):
        settings, sources = replace(settings, dark=dark), [*raws, *dark.raws]
        more = options.watch or bool(rejected)
        raws = dark.without(raws, report, force=settings.force_read, more=more)
    manifests = Manifests()
    photos, results = split_results(raws, options.out, manifests)
    if settings.again:
        photos, results = [*photos, *results], []
    if raws and not photos and not any(raw.named for raw in results):
        report.warn(
            "nothing to denoise: led wrote every file found; to denoise them again, use --again "
            "with another --out"
        )
    for raw in results:
        result = Result(raw.file, why=DENOISED)
        if raw.named and not photos:
            result.error = RawError(f"{raw.file}: {DENOISED}; use --again to repeat")
        rejected.append(result)
    jobs = plan_names(
        photos, formats, options.out, options.name, sources=sources, manifests=manifests
    )
    if shard is not None:
        of = len(jobs)
        jobs = [job for raw, job in zip(photos, jobs, strict=True) if shard.has(raw)]
        report.info(f"shard {shard}{shard.given}: {len(jobs)} of {of} photos")
    elif len(jobs) > 1 and (task := array_variable()):
        report.info(f"{task} is set: use --shard auto to divide the photos among the array's tasks")
    only = named.chosen.path if named else None
    engine = options.engine._replace(backend=choose_backend(options.engine.backend, only))
    up = named.spec.arguments.get("up") if named else None
    if (engine.precision, engine.backend) == ("int8", "openvino") and not fast and up != "bilinear":
        raise UsageError(FAST_INT8)
    how = settings, chooser, engine, options.overwrite, manifests, rejected, shard
    return DenoiseRun(jobs, *how, ray=options.ray)


def _untouched(job: Job, photo: PlannedPhoto) -> Result:
    outputs = [job.outputs[name] for name in photo.make]
    why = photo.why if photo.error is None else ""
    made = outputs or list(photo.kept)
    unfit = [UNFIT.format(job.source, photo.unfit)] if photo.unfit else []
    return Result(job.source, made, photo.error, why, Status.PLANNED if outputs else None, unfit)
