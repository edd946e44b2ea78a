"""`led doctor`: what this machine can do, and whether every backend is correct."""

import typer

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED


def doctor(output: opt.OutputOptions = opt.PLAIN) -> None:
    """Check what this machine can do and that every backend is correct.

    Lists versions and the bundled model, then runs synthetic frames with every backend, device and
    precision, and compares each result with torch on the CPU in float32. What is not installed or
    not found is listed as well. Devices that agree may be used by --device auto; this is
    remembered until a driver or a version changes.

    Examples
    --------
    After an update, or before reporting a bug::

        led doctor
    """
    output.result(facts := _facts(), "\n".join(f"{k:12} {v}" for k, v in facts.items()))

    from ledcli.evaluation.simulation import compare_engines
    from ledcli.zoo.store import find_model

    rows, records, problems = [], [], []
    for engine, agreement, missing in compare_engines(find_model()):
        backend, device = engine.backend, engine.device
        record = engine._asdict() | {"rms": None, "largest": None, "agrees": None, "error": missing}
        shown = ("", "", missing)
        if agreement is not None:
            record |= {"agrees": agreement.agrees, "error": agreement.problem}
            shown = ("", "", agreement.problem or "agrees")
            if not agreement.error:
                record |= {"rms": agreement.rms, "largest": agreement.largest}
                shown = (f"{agreement.rms:.1e}", f"{agreement.largest:.1e}", shown[2])
            if agreement.problem:
                problems.append(
                    f"{backend} on {device} in {engine.precision} {agreement.problem}: led does "
                    "not use it; please report it"
                )
        records.append(record)
        rows.append((backend, device, engine.precision, engine.tile or "", *shown))
    columns = ("backend", "device", "precision", "tile", "rms of white", "largest", "result")
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
        "onnxruntime": _version("onnxruntime", "onnx"),
        "OpenVINO": _version("openvino", "openvino"),
        "NumPy": np.__version__,
        "LibRaw": ".".join(map(str, rawpy.libraw_version)),
        "imagecodecs": imagecodecs.__version__,
        "exiftool": shutil.which("exiftool") or "not on the PATH",
        "uses": f"{best}, {choose_precision('auto', best)}, {torch.get_num_threads()} threads",
        "model": f"{model.path.name}, sha256 {file_sha256(model.path)[:16]}",
    }


def _version(package: str, extra: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed (pip install 'ledcli[{extra}]')"
