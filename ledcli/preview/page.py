"""The preview as a page: a slider over each crop, and the command of the variant that is chosen."""

import base64
import hashlib
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from ledcli import __version__
from ledcli.evaluation.report import encode_pictures
from ledcli.preview.run import PreviewedPhoto
from ledcli.preview.variants import Variant

NOISY = 0
"""Number of the noisy tile."""
_LOADER = PrefixLoader(
    {name: PackageLoader(f"ledcli.{name}") for name in ("evaluation", "preview")}
)
_ENVIRONMENT = Environment(
    loader=_LOADER, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)


def page_html(
    previewed: Sequence[PreviewedPhoto],
    variants: Sequence[Variant],
    commands: Mapping[int, str],
) -> bytes:
    """Return the page, which opens without a network; `commands` are by number.

    The slider is that of the report of `led evaluate`.
    """
    style, script = (
        "".join(_LOADER.get_source(_ENVIRONMENT, name)[0] for name in names)
        for names in (
            ("evaluation/report.css", "preview/preview.css"),
            ("evaluation/report.js", "preview/preview.js"),
        )
    )
    photos = [each for each in previewed if each.tiles]
    pictures = [{NOISY: tiles.noisy, **tiles.variants} for each in photos for tiles in each.tiles]
    addresses, storage = encode_pictures(pictures)
    each_crop = iter(addresses)
    page = _ENVIRONMENT.get_template("preview/preview.html.j2").render(
        photos=[(each, [(tiles, next(each_crop)) for tiles in each.tiles]) for each in photos],
        failed=[each.result.error for each in previewed if each.result.error is not None],
        labels={NOISY: "noisy", **{v.number: f"{v.number}: {v.label}" for v in variants}},
        variants=variants,
        commands=commands,
        storage=storage,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    # A file name may hold bytes that are not text.
    return page.encode("utf-8", "backslashreplace")
