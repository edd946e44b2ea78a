"""led: a command-line RAW denoiser that is calibrated to a camera with two pairs of shots.

The public functions of `ledcli.api` are available here: `denoise`, `scan_pairs`, `finetune`,
`evaluate`, `load_model` and the class `Denoiser`. They are imported when they are first used, so
that `import ledcli` stays fast.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ledcli.api import Denoiser, denoise, evaluate, finetune, load_model, scan_pairs

__all__ = ["Denoiser", "denoise", "evaluate", "finetune", "load_model", "scan_pairs"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        from ledcli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
