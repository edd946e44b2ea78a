"""led: a command-line RAW denoiser that is calibrated to a camera with two pairs of shots.

The public functions of `ledcli.api` are available here: `denoise`, `scan_pairs`, `finetune`,
`evaluate`, `load_model` and the class `Denoiser`. They are imported when they are first used, so
that `import ledcli` stays fast.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# A thread of torch's (GNU OpenMP) that waits for the others keeps its core busy for 300,000 rounds
# by default: beside other programs the network took ten times as long. Read as torch is imported.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "20000"

if TYPE_CHECKING:
    from ledcli.api import denoise, evaluate, finetune, load_model, scan_pairs
    from ledcli.inference.denoiser import Denoiser

__all__ = ["Denoiser", "denoise", "evaluate", "finetune", "load_model", "scan_pairs"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        home = "inference.denoiser" if name == "Denoiser" else "api"
        return getattr(import_module(f"ledcli.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
