"""The preview as a page with a slider over each crop, or as one picture: a row for each crop."""

import io
from collections.abc import Mapping, Sequence
from unicodedata import combining, normalize

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ledcli.evaluation.report import encode_pictures, render_page
from ledcli.output.render import srgb_profile
from ledcli.preview.crops import PreviewedPhoto
from ledcli.preview.variants import Variant

NOISY = 0
"""Number of the noisy tile."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Ink = tuple[int, int, int]

GROUND, INK, SOFT = (38, 38, 38), (240, 240, 240), (176, 176, 176)
"""Colours: a neutral grey, so that the eye judges the tiles' own."""
TEXT, SMALL = 22, 18
"""Heights of letters in pixels."""
GAP, MIN_TILE = 8, 200
"""Pixels between tiles, and width of a column: a label takes as much."""
LINE = 28
"""Pixels from line to line of text."""
GUTTER = 110
"""Pixels on the left, for what a row shows."""


def page_html(
    previewed: Sequence[PreviewedPhoto], variants: Sequence[Variant], commands: Mapping[int, str]
) -> bytes:
    """Return the page, which opens without a network; `commands` are by number.

    The slider is that of the report of `led evaluate`.
    """
    photos = [each for each in previewed if each.tiles]
    pictures = [{NOISY: tiles.noisy, **tiles.variants} for each in photos for tiles in each.tiles]
    addresses, storage = encode_pictures(pictures)
    each_crop = iter(addresses)
    return render_page(
        ["evaluation/report", "preview/preview"],
        photos=[(each, [(tiles, next(each_crop)) for tiles in each.tiles]) for each in photos],
        failed=[each.result.error for each in previewed if each.result.error is not None],
        labels={NOISY: "noisy", **{v.number: f"{v.number}: {v.label}" for v in variants}},
        variants=variants,
        commands=commands,
        storage=storage,
    )


def sheet_png(previewed: Sequence[PreviewedPhoto], variants: Sequence[Variant]) -> bytes:
    """Return the contact sheet of photos as a PNG, 8 bits per channel, sRGB."""
    photos = [each for each in previewed if each.tiles]
    width = max([MIN_TILE, *(t.noisy.shape[1] for each in photos for t in each.tiles)])
    blocks = [_photo_block(each, variants, width) for each in photos]
    size = blocks[0].width, sum(block.height for block in blocks)
    sheet = Image.new("RGB", size, GROUND)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    data = io.BytesIO()
    sheet.save(data, "png", icc_profile=srgb_profile())
    return data.getvalue()


def _photo_block(previewed: PreviewedPhoto, variants: Sequence[Variant], width: int) -> Image.Image:
    """Draw a photo: its name, the labels of the columns, and its rows of tiles."""
    large, small = (ImageFont.load_default(size) for size in (TEXT, SMALL))
    heads = 2 * GAP + 3 * LINE
    heights = [tiles.noisy.shape[0] + GAP for tiles in previewed.tiles]
    size = GUTTER + (1 + len(variants)) * (width + GAP) + GAP, heads + sum(heights) + 2 * GAP
    block = Image.new("RGB", size, GROUND)
    draw = ImageDraw.Draw(block)

    def write(at: tuple[int, int], text: str, font: Font, room: int, ink: Ink = INK) -> None:
        draw.text(at, _fitting(text, font, room), fill=ink, font=font)

    source, ratio = previewed.result.source, previewed.result.ratio
    assert source is not None  # as it has tiles
    write((GAP, GAP), f"{source.name}   x {ratio:g}", large, size[0] - 2 * GAP)
    lefts = [GUTTER + number * (width + GAP) for number in range(1 + len(variants))]
    write((lefts[0], GAP + LINE), "noisy", large, width)
    for variant, left in zip(variants, lefts[1:], strict=True):
        write((left, GAP + LINE), f"{variant.number}  {variant.network}", large, width)
        write((left, GAP + 2 * LINE), variant.strength, small, width, SOFT)
    top = heads
    for tiles, height in zip(previewed.tiles, heights, strict=True):
        write((GAP, top), tiles.crop.kind, small, GUTTER - GAP, SOFT)
        block.paste(Image.fromarray(tiles.noisy), (lefts[0], top))
        for variant, left in zip(variants, lefts[1:], strict=True):
            if variant.number in tiles.variants:
                picture = np.ascontiguousarray(tiles.variants[variant.number])
                block.paste(Image.fromarray(picture), (left, top))
            else:
                write((left, top), "not for this photo", small, width, SOFT)
        top += height
    return block


def _fitting(text: str, font: Font, room: int) -> str:
    """Return a text in the font's letters, without accents, cut to a width in pixels."""
    letters = (c for c in normalize("NFKD", text) if not combining(c))
    text = "".join(c if " " <= c <= "~" else "?" for c in letters)
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."
