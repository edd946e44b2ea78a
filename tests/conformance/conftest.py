"""The suite's photos: made once, denoised once in each form."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ledcli.cli.app import run
from tests.conformance import judges, tagtable
from tests.conformance.cameras import CAMERAS, Camera
from tests.inference.models import write_model

FORMS: Mapping[str, Sequence[str]] = {
    "ljpeg": ("--compression", "ljpeg"),
    "none": ("--compression", "none"),
    "linear": ("--linear",),
    "pictures": ("--format", "png,tiff"),
}
"""What else `led denoise` is told, by the name of its output folder."""


class Shoot:
    """Every made-up camera's raw, and what `led denoise` makes of it.

    Attributes
    ----------
    folder : Path
        With the sources in ``raw`` and the results of each form in a folder of its name.
    mosaics : dict
        The sources' active areas, in DN, by file name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "raw").mkdir()
        self.mosaics: dict[str, NDArray[np.uint16]] = {
            camera.name: camera.make(folder / "raw") for camera in CAMERAS
        }
        self.model = write_model(folder / "tiny.safetensors", sets=())
        self._status: dict[str, int] = {}
        self._tags: dict[str, dict[Path, dict[str, Any]]] = {}

    def source(self, name: str) -> Path:
        """Return a camera's raw."""
        return self.folder / "raw" / name

    def trimmed(self, camera: Camera) -> Path:
        """Return a camera's raw without margins, made if it is not there yet."""
        path = self.folder / "trimmed" / camera.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            camera.make_trimmed(path.parent, self.mosaics[camera.name])
            if not judges.MISSING["exiftool"]:
                judges.exiftool(tagtable.arguments(), [path])
        return path

    def result(self, form: str, name: str, suffix: str = ".dng") -> Path:
        """Return what became of a camera's raw in a form of `FORMS`."""
        self.status(form)
        path = self.folder / form / f"{Path(name).stem}{suffix}"
        return path if path.exists() else path.with_name(name + suffix)

    def results(self, form: str) -> list[Path]:
        """Return all that a form's run wrote."""
        self.status(form)
        return sorted(path for path in (self.folder / form).glob("[!.]*") if path.is_file())

    def status(self, form: str) -> int:
        """Denoise every source with ratio 1 and strength 0, if not done yet; the exit status."""
        if form not in self._status:
            self._status[form] = denoise(
                self.folder / "raw", self.folder / form, self.model, FORMS[form]
            )
        return self._status[form]

    def tags(self, form: str) -> dict[str, dict[str, Any]]:
        """Return every tag of a form's results, or of the sources ("raw"), by file name."""
        if form not in self._tags:
            files = self.results(form) if form != "raw" else sorted((self.folder / form).iterdir())
            self._tags[form] = judges.tags(files)
        return {path.name: found for path, found in self._tags[form].items()}


def denoise(
    raws: Path, out: Path, model: Path, options: Sequence[str] = (), *, quiet: bool = True
) -> int:
    """Run `led denoise` with ratio 1 and strength 0."""
    words = ["denoise", raws, "--out", out, "--model", model, "--ratio", 1, "--strength", 0]
    words += [*options, "--device", "cpu", *(["--quiet"] if quiet else [])]
    return run([str(word) for word in words])


@pytest.fixture(scope="session")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shoot]:
    """The suite's photos, with all the tags of the table where exiftool is there."""
    folder = tmp_path_factory.mktemp("conformance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LED_HOME", str(folder / "home"))
        shoot = Shoot(folder)
        if not judges.MISSING["exiftool"]:
            judges.exiftool(tagtable.arguments(), sorted((folder / "raw").iterdir()))
        yield shoot
