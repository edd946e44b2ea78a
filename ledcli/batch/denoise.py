"""A run of `led denoise`, planned: which photos, under which names, with which models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledcli.batch.inputs import find_raws
from ledcli.batch.manifest import Manifests
from ledcli.batch.names import plan_names
from ledcli.batch.plan import PlannedPhoto, plan_photos, split_results
from ledcli.batch.run import run
from ledcli.batch.settings import Engine, Job, Result, Settings, choose_formats
from ledcli.errors import RawError
from ledcli.inference.backends import choose_backend
from ledcli.reporting import SILENT, Reporter
from ledcli.zoo.selection import BestModel, NamedModel


@dataclass
class DenoiseRun:
    """A planned run over photos: `preview` shows what it would do, `run` does it.

    Attributes
    ----------
    jobs : list of Job
        One per photo, with the files to write.
    settings : Settings
    chooser : BestModel or NamedModel
        Chooses the model of each photo.
    manifests : Manifests
        Those of the output folders.
    engine : Engine
        Device, precision, tile size and backend.
    rejected : list of Result
        Inputs that cannot be denoised, with the reason.
    """

    jobs: list[Job]
    settings: Settings
    chooser: BestModel | NamedModel
    manifests: Manifests
    engine: Engine
    rejected: list[Result]

    def preview(self, *, overwrite: bool = False) -> list[tuple[Job, PlannedPhoto]]:
        """Return what would be done for each photo; writes nothing and loads no network."""
        planned = plan_photos(
            self.jobs, self.settings, self.chooser, self.manifests, overwrite=overwrite
        )
        return list(zip(self.jobs, planned, strict=True))

    def run(
        self,
        *,
        overwrite: bool = False,
        stop: Callable[[], bool] = lambda: False,
        report: Reporter = SILENT,
    ) -> Iterator[Result]:
        """Denoise what is missing or changed; yields one `Result` per photo, in order."""
        return run(
            self.jobs,
            self.settings,
            self.chooser,
            manifests=self.manifests,
            engine=self.engine,
            overwrite=overwrite,
            stop=stop,
            on_message=report.info,
        )


def plan_denoise(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    settings: Settings,
    formats: Sequence[str] = (),
    model: str | Path | None = None,
    name: str = "{stem}{ext}",
    recursive: bool = False,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    report: Reporter = SILENT,
) -> DenoiseRun:
    """Find the photos, name their outputs, and decide where models come from.

    Parameters
    ----------
    paths : sequence of path
        Raw files, folders and patterns.
    out : path, optional
        Output folder; ``denoised`` beside the input by default.
    settings : Settings
        What is done to every photo.
    formats, model, name, recursive, engine
        As for `ledcli.api.denoise`.
    report : Reporter
        Receives messages.

    Raises
    ------
    UsageError
        Options that exclude each other.
    ModelError
        No such model.
    """
    named = None if model is None else NamedModel(model)
    pictures = named.chosen.name if named and named.spec.makes_pictures else None
    chosen = choose_formats(formats, settings, pictures)
    if pictures and not formats:
        report.info(f"{pictures} makes pictures straight from the raw: writing PNG")
    rejected: list[Result] = []
    folder = None if out is None else Path(out)
    raws = find_raws(
        [str(path) for path in paths],
        recursive=recursive,
        problem=lambda error: rejected.append(Result(None, error=error)),
        note=report.warn,
        out=folder,
    )
    manifests = Manifests()
    photos, results = split_results(raws, folder, manifests)
    if settings.again:
        photos, results = [*photos, *results], []
    for raw in results:
        error = RawError(f"{raw.file}: already denoised by led; use --again to repeat")
        rejected.append(Result(raw.file, error=error))
    jobs = plan_names(photos, chosen, folder, name, sources=raws, manifests=manifests)
    only = named.chosen.path if named else None
    engine = engine._replace(backend=choose_backend(engine.backend, only))
    return DenoiseRun(jobs, settings, named or BestModel(), manifests, engine, rejected)
