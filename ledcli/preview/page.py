"""The preview as a page: a slider over each crop, and the command of the variant that is chosen."""

from collections.abc import Mapping, Sequence

from ledcli.evaluation.report import encode_pictures, render_page
from ledcli.preview.run import PreviewedPhoto
from ledcli.preview.variants import Variant

NOISY = 0
"""Number of the noisy tile."""


def page_html(
    previewed: Sequence[PreviewedPhoto],
    variants: Sequence[Variant],
    commands: Mapping[int, str],
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
