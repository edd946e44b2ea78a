"""`led doctor`: what this machine can do, and whether every backend is correct."""

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output
from ledcli.cli.options import JsonOption, QuietOption


def doctor(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Check what this machine can do and that every backend is correct.

    Lists versions, devices and the bundled model, then denoises a made-up frame with every
    backend, device, precision and tile size available and compares each result with torch on the
    CPU in float32.

    Examples
    --------
    After an update, or before reporting a bug::

        led doctor
    """
    output = Output(json=json, quiet=quiet)
    output.result(facts := _facts(), "\n".join(f"{k:12} {v}" for k, v in facts.items()))

    from ledcli.evaluation.simulation import compare_engines
    from ledcli.zoo.store import find_model

    rows, records, problems = [], [], []
    for way in compare_engines(find_model()):
        device, precision, tile, backend = way.engine
        rms, agrees = f"{way.rms:.1e}", "yes" if way.agrees else "NO"
        rows.append((backend, device, precision, tile, rms, f"{way.largest:.1e}", agrees))
        figures = {"rms": way.rms, "largest": way.largest, "agrees": way.agrees}
        records.append(way.engine._asdict() | figures)
        if not way.agrees:
            problems.append(
                f"{backend} on {device} in {precision} differs from the reference by {rms}: use "
                "--backend torch with --precision float32 or --device cpu, and please report it"
            )
    columns = ("backend", "device", "precision", "tile", "rms of white", "largest", "agrees")
    output.table(columns, rows, records=records, right=columns[3:6])
    for problem in problems:
        output.error(problem)
    if problems:
        raise typer.Exit(FAILED)


def _facts() -> dict[str, str]:
    import platform
    import shutil

    import imagecodecs
    import numpy as np
    import rawpy
    import torch

    from ledcli import __version__
    from ledcli.evaluation.simulation import devices
    from ledcli.inference.backends.torch import choose_device, choose_precision
    from ledcli.zoo.model_file import file_sha256
    from ledcli.zoo.store import find_model

    best = choose_device()
    model = find_model()
    return {
        "led": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "onnxruntime": _onnxruntime(),
        "NumPy": np.__version__,
        "LibRaw": ".".join(map(str, rawpy.libraw_version)),
        "imagecodecs": imagecodecs.__version__,
        "exiftool": shutil.which("exiftool") or "not on the PATH",
        "devices": ", ".join(devices()),
        "uses": f"{best}, {choose_precision('auto', best)}, {torch.get_num_threads()} threads",
        "model": f"{model.path.name}, sha256 {file_sha256(model.path)[:16]}",
    }


def _onnxruntime() -> str:
    try:
        import onnxruntime
    except ImportError:
        return "not installed (pip install 'ledcli[onnx]')"
    return str(onnxruntime.__version__)
