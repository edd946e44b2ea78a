"""`led doctor`: what this machine can do, and whether every backend is correct."""

import typer

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED


def doctor(output: opt.OutputOptions = opt.PLAIN) -> None:
    """Check what this machine can do and that every backend is correct.

    Lists versions and the bundled model, then runs synthetic frames with every backend, device and
    precision, and compares each result with torch on the CPU in float32. What is not installed or
    not found is listed as well. Devices that agree may be used by --device auto; this is
    remembered for a month, or until a driver or a version changes.

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
        device, precision, tile, backend = engine
        rms = largest = agrees = None
        problem = missing
        if agreement is not None:
            problem, agrees = agreement.problem, agreement.agrees
            if not agreement.error:
                rms, largest = agreement.rms, agreement.largest
            if problem:
                problems.append(
                    f"{backend} on {device} in {precision} {problem}: led does not use it; please "
                    "report it"
                )
        figures = {"rms": rms, "largest": largest, "agrees": agrees, "error": problem}
        records.append(engine._asdict() | figures)
        differences = ("" if value is None else f"{value:.1e}" for value in (rms, largest))
        rows.append((backend, device, precision, tile or "", *differences, problem or "agrees"))
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
