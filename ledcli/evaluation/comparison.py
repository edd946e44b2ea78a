"""The report's crops: the same place as every model shows it, side by side."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ledcli.evaluation.formatting import conditions, figure, gain, model_name, name
from ledcli.evaluation.markup import Markup, element, join
from ledcli.evaluation.results import NOISY, Crop

LARGEST = 9_000_000
"""Characters of all pictures together: the page should go through the post."""
_TRUTH = "truth"
"""Key of the truth's picture; the models' keys are their numbers."""


@dataclass(frozen=True)
class Coding:
    """How pictures are stored; quality None is PNG, without loss."""

    quality: int | None

    def encode(self, picture: NDArray[np.uint8]) -> str:
        """Return a picture ``(h, w, 3)`` as a ``data:`` address."""
        image, data = Image.fromarray(np.ascontiguousarray(picture)), io.BytesIO()
        if self.quality is None:
            image.save(data, "PNG", optimize=True)
        else:
            image.save(data, "JPEG", quality=self.quality, subsampling=0)
        form = "png" if self.quality is None else "jpeg"
        return f"data:image/{form};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


_CODINGS = (Coding(None), Coding(95), Coding(85))


def comparison(crops: Sequence[Crop], models: Sequence[str], largest: int = LARGEST) -> Markup:
    """Return all crops in their order, with a word on how the pictures are stored.

    Parameters
    ----------
    crops : sequence of Crop
    models : sequence of str
        In the order in which they stand side by side.
    largest : int
        Characters that the pictures may take before they are stored as JPEG.
    """
    for coding in _CODINGS:
        encoded = [_addresses(crop, coding) for crop in crops]
        if sum(len(address) for found in encoded for address in found.values()) <= largest:
            break
    articles = [
        _article(number, crop, models, addresses)
        for number, (crop, addresses) in enumerate(zip(crops, encoded, strict=True), 1)
    ]
    stored = (
        "The pictures are stored without loss."
        if coding.quality is None
        else f"To keep this page small the pictures are JPEGs of quality {coding.quality}."
    )
    return join(element("p", stored, class_="note"), element("div", *articles, class_="crops"))


def _addresses(crop: Crop, coding: Coding) -> dict[str | None, str]:
    """Return the pictures by model; the truth under None, for a model may have any name."""
    found: dict[str | None, str] = {m: coding.encode(p) for m, p in crop.pictures.items()}
    found[None] = coding.encode(crop.truth)
    return found


def _article(
    number: int, crop: Crop, models: Sequence[str], addresses: dict[str | None, str]
) -> Markup:
    order: list[tuple[str, str | None]] = [
        (str(key), model) for key, model in enumerate(models) if model in addresses
    ]
    figures = [
        _figure(crop, key, model, addresses[model]) for key, model in [*order, (_TRUTH, None)]
    ]
    return element(
        "article",
        element("h3", f"{number}. ", name(crop.frame)),
        element("p", conditions(crop.camera, crop.iso, crop.ratio), class_="conditions"),
        element("div", *figures, class_="side-by-side"),
        class_="crop",
    )


def _figure(crop: Crop, key: str, model: str | None, address: str) -> Markup:
    height, width = crop.truth.shape[:2]
    shown = "truth" if model is None else "noisy input" if model == NOISY else model
    words: list[Markup] = [Markup("truth") if model is None else model_name(model)]
    if model is not None and model in crop.psnr:
        words.append(Markup(f" {figure('psnr', crop.psnr[model])} dB"))
        if model != NOISY and NOISY in crop.psnr:
            words.append(Markup(f" ({gain('psnr', crop.psnr[model] - crop.psnr[NOISY])})"))
    return element(
        "figure",
        element(
            "img",
            src=address,
            alt=f"{crop.frame}: {shown}",
            width=str(width),
            height=str(height),
        ),
        element("figcaption", *words),
        data_key=key,
        data_name=shown,
    )
