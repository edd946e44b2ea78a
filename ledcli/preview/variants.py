"""The variants of a preview: qualities or models, with strengths; and the command of each."""

import itertools
import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledcli.batch.settings import Quality, Settings
from ledcli.errors import UsageError
from ledcli.zoo.selection import FAST_CHOOSES

MAX_VARIANTS = 24
"""More are no longer compared, and make too large a page."""
DEFAULT_STRENGTHS = (0.5, 0.75, 1.0)
DEFAULT_QUALITIES = (Quality.FAST, Quality.STANDARD)


@dataclass(frozen=True)
class Variant:
    """One way to denoise all photos."""

    number: int
    """From 1; on the tiles."""
    settings: Settings
    model: str | None
    """As the user named it; None is the best for each photo."""

    @property
    def network(self) -> str:
        """Which network, in a word or two."""
        quality = self.settings.quality
        named = [os.path.basename(self.model)] if self.model is not None else []
        if self.model is None or quality != Quality.STANDARD:
            named.append(quality)
        return " ".join(named)

    @property
    def strength(self) -> str:
        """How much is removed, in a few words."""
        luma, chroma = self.settings.strengths
        return f"strength {luma:g}" if luma == chroma else f"luma {luma:g}, chroma {chroma:g}"

    @property
    def label(self) -> str:
        """Network and strength."""
        return f"{self.network}, {self.strength}"

    @property
    def options(self) -> list[str]:
        """Its options of `led denoise`, written out, as a file may set other defaults."""
        luma, chroma = self.settings.strengths
        options = ["--quality", str(self.settings.quality)]
        if self.model is not None:
            options += ["--model", self.model]
        if luma == chroma:
            return [*options, "--strength", f"{luma:g}"]
        return [*options, "--luma", f"{luma:g}", "--chroma", f"{chroma:g}"]


def plan_variants(
    settings: Settings,
    *,
    strengths: Sequence[float] = (),
    lumas: Sequence[float] = (),
    chromas: Sequence[float] = (),
    qualities: Sequence[Quality] = (),
    models: Sequence[str] = (),
) -> list[Variant]:
    """Combine every network with every strength; `settings` are what they share.

    Raises UsageError if there are too many, or a model is named with the quality ``fast``.
    """
    if models and Quality.FAST in qualities:
        raise UsageError(FAST_CHOOSES.format("--model"))
    qualities = qualities or ((Quality.STANDARD,) if models else DEFAULT_QUALITIES)
    if not strengths:
        # With luma and chroma given, the strength has no effect.
        strengths = (1.0,) if lumas and chromas else DEFAULT_STRENGTHS
    shares = {
        replace(settings, strength=each, luma=luma, chroma=chroma).strengths: None
        for each, luma, chroma in itertools.product(strengths, lumas or (None,), chromas or (None,))
    }
    networks = dict.fromkeys(itertools.product(models or (None,), qualities))
    if len(networks) * len(shares) > MAX_VARIANTS:
        raise UsageError(
            f"{len(networks) * len(shares)} variants: name fewer strengths, qualities or models, "
            f"{MAX_VARIANTS} together at most"
        )
    numbers = itertools.count(1)
    return [
        Variant(next(numbers), replace(settings, quality=quality, luma=luma, chroma=chroma), model)
        for (model, quality), (luma, chroma) in itertools.product(networks, shares)
    ]


def command_of(variant: Variant, inputs: Sequence[str], shared: Sequence[str]) -> list[str]:
    """Return the words of the `led denoise` that makes a variant of all inputs.

    `shared` are the options that all variants have. A name that looks like an option gets its
    folder.
    """
    names = [os.path.join(".", name) if name.startswith("-") else name for name in inputs]
    return ["led", "denoise", *names, *shared, *variant.options]


def as_text(words: Sequence[str]) -> str:
    """Quote a command for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
