"""What `led finetune` is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledcli.batch.settings import converted
from ledcli.errors import UsageError
from ledcli.output.atomic import RENAME, check_new
from ledcli.pairs.frames import check_ratios
from ledcli.training.methods import find_method
from ledcli.training.methods.base import FinetuneMethod
from ledcli.training.methods.start import NO_MODEL
from ledcli.zoo.selection import FAST_CHOOSES
from ledcli.zoo.store import FAST, check_name, check_suffix


@dataclass(frozen=True)
class FinetuneSettings:
    """What to fine-tune, and how."""

    pretrained: str | None = None
    """Name or file of the model to start from, or ``none``; by default the bundled one for the
    camera's kind of sensor."""
    quality: str = "standard"
    """``fast`` starts from the bundled fast model: what is tuned serves ``denoise --quality
    fast``."""
    method: str = "led"
    """A name in `ledcli.training.methods.METHODS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's options, by the fields of its recipe: iterations, batch, seed and so on."""
    sources: tuple[Path, ...] = ()
    """ADL: other cameras' pair lists, or folders of clean photos."""
    name: str | None = None
    """Of the tuned model; by default the camera's."""
    out: Path | None = None
    """Also write the model here, before folding."""
    ratios: tuple[float, ...] = ()
    """Use the pairs of these ratios only; empty uses all."""
    keep_shifted: bool = False
    """Keep pairs that are shifted."""
    force: bool = False
    """Accept pairs of one ISO, and install a model that is no better."""
    force_read: bool = False
    """Read frames that look damaged."""
    resume: bool = False
    """Go on with a fine-tuning that was stopped."""
    device: str = "auto"
    precision: str = "auto"
    """As ``--device`` and ``--precision``."""
    dry_run: bool = False
    """Read and check the pairs only."""

    def __post_init__(self) -> None:
        """Convert what the Python API is given for a path and for numbers."""
        if self.out is not None:
            if not str(self.out):
                raise UsageError("out is an empty name: leave it out")
            object.__setattr__(self, "out", converted(Path, self.out, "out", "a path"))
        for name in ("name", "pretrained"):
            if (value := getattr(self, name)) is not None:
                converted(Path, value, name, "a text")
        several = [self.sources] if isinstance(self.sources, str | Path) else self.sources
        paths = converted(lambda values: tuple(map(Path, values)), several, "sources", "paths")
        object.__setattr__(self, "sources", paths)
        given = [self.ratios] if isinstance(self.ratios, int | float) else self.ratios
        ratios = converted(lambda values: tuple(map(float, values)), given, "ratios", "numbers")
        object.__setattr__(self, "ratios", ratios)


def method_of(settings: FinetuneSettings) -> type[FinetuneMethod]:
    """Return the method; raise LedError if the other settings do not go with it."""
    method, out = find_method(settings.method), settings.out
    check_ratios(settings.ratios)
    if out is not None:
        check_suffix(out)
        check_new(out, RENAME)
    if settings.name is not None:
        check_name(settings.name)
    if settings.pretrained == NO_MODEL and method.needs_pretrained:
        raise UsageError(
            f"--method {method.name} needs a model: name one instead of --pretrained {NO_MODEL}"
        )
    if settings.sources and not method.takes_sources:
        raise UsageError("--source is for --method adl: leave it out")
    if settings.quality not in (FAST, "standard"):
        raise UsageError(f"--quality takes fast or standard, not {settings.quality}")
    if settings.quality == FAST and settings.pretrained is not None:
        raise UsageError(FAST_CHOOSES.format("--pretrained"))
    return method
