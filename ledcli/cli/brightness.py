"""How bright a photo is to be, as the user types it: --ratio and --exposure."""

from pathlib import Path

from ledcli.errors import UsageError

AUTO = "auto"


def brightness(ratio: str | None, exposure: str | None) -> tuple[float | None, float | None]:
    """Read the two options.

    Parameters
    ----------
    ratio : str or None
        A factor, or ``auto``.
    exposure : str or None
        An exposure level (ISO x seconds), or the file of a raw that has it.

    Returns
    -------
    ratio, exposure : float or None
        As `inference.jobs.Settings` has them.

    Raises
    ------
    UsageError
        Both are given, or one makes no sense.
    MetadataError
        The raw does not say its exposure.
    """
    from ledcli.batch.settings import LARGEST_RATIO

    if ratio is not None and exposure is not None:
        raise UsageError("--ratio and --exposure both say how much to brighten: give one of them")
    if exposure is not None:
        return 1.0, _exposure_level(exposure)
    if ratio == AUTO:
        return None, None
    if ratio is None:
        return 1.0, None
    try:
        factor = float(ratio)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= LARGEST_RATIO:
        raise UsageError(f"--ratio is a factor from 1 to {LARGEST_RATIO:g} or auto, not {ratio}")
    return factor, None


def _exposure_level(text: str) -> float:
    """Take a number as the level itself, anything else as a long exposure's file."""
    from ledcli.raw.exif import read_exif, require_exposure_level

    try:
        level = float(text)
    except ValueError:
        path = Path(text)
        if not path.is_file():
            raise UsageError(
                f"--exposure takes a number (ISO x seconds) or a raw file; '{text}' is neither"
            ) from None
        return require_exposure_level(path, read_exif(path))
    if not 0 < level < float("inf"):
        raise UsageError(f"--exposure takes a level above 0 (ISO x seconds), not {text}")
    return level
