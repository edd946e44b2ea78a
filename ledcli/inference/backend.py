"""What computes the network: torch, or onnxruntime. No torch."""

from pathlib import Path

from ledcli.errors import UsageError
from ledcli.zoo.onnx_file import is_onnx, require_onnx

BACKENDS = ("torch", "onnx")


def choose_backend(name: str = "auto", model: Path | None = None) -> str:
    """Return the backend of a name; ``auto`` is onnx for an ONNX file, else torch.

    Parameters
    ----------
    name : str
    model : Path, optional
        The model file, where there is one for all photos.

    Raises
    ------
    UsageError
        The name is no backend, does not run this file, or is not installed.
    """
    if name not in ("auto", *BACKENDS):
        raise UsageError(f"no backend '{name}': choose auto, {' or '.join(BACKENDS)}")
    exported = model is not None and is_onnx(model)
    if exported and name == "torch":
        raise UsageError(f"{model}: is an ONNX file, which torch does not run: leave --backend out")
    if not exported and name != "onnx":
        return "torch"
    require_onnx("the onnx backend")
    return "onnx"
