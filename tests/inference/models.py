"""A tiny model with random weights, and short frames to give it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ledcli.inference.network import ReadyNetwork
from ledcli.inference.tiles import tiled
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import build
from ledcli.nets.repnr import convert
from ledcli.noise.camera_profile import CameraNoiseProfile, DarkShading
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.physics import add_noise
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec

PLANES = {"bayer": 4, "xtrans": 9}
LINE = NoiseProfile(6e-4, 1e-7)
"""A camera's gain and read variance, of white."""


def write_model(
    path: Path,
    *,
    form: str = "stabilised",
    sets: tuple[str, ...] = ("a", "b"),
    seed: int = 3,
    cfa: str = "bayer",
    out_planes: int | None = None,
    **description: Any,
) -> Path:
    """Write a model file; its alignments differ from set to set.

    `description` goes into the header: cameras, ratio_range, training, noise_profile...
    """
    planes = PLANES[cfa]
    arguments = {"in_planes": form_of(form, planes=planes).in_planes, "channels": 4}
    if cfa != "bayer" or out_planes is not None:
        arguments["out_planes"] = out_planes or planes
    torch.manual_seed(seed)
    net = build("unet", arguments)
    net = convert(net, sets) if sets else net
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if ".align_" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    values: dict[str, Any] = {
        "name": "tiny",
        "architecture": "unet",
        "arguments": arguments,
        "input_form": form,
        "csa_sets": sets,
        "ratio_range": (1.0, 300.0),
        "method": "none",
        "licence": "Apache-2.0",
        "source": "tests",
        "cfa": cfa,
        "planes": planes,
    }
    spec = ModelSpec(**values | description)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, spec, net.state_dict())
    return path


def noise_profile(
    offset: float = 0.0, isos: tuple[float, float] = (400.0, 6400.0)
) -> CameraNoiseProfile:
    """Lines of a made-up camera whose black is off by `offset` (of white) in every plane."""
    grid = np.full((4, 1, 1), offset, np.float32)
    shading = tuple(DarkShading(iso, grid) for iso in isos)
    return CameraNoiseProfile(
        isos, (1.0, float(np.log(1e-7))), (1.5, float(np.log(1e-10))), shading, (64, 64)
    )


def scene(rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    """Clean planes (4, rows, cols) in 0..0.8: a slope, discs and a fine grating."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    light = 0.1 + 0.3 * x / cols
    for _ in range(12):
        row, col, radius = rng.uniform(0, rows), rng.uniform(0, cols), rng.uniform(8, rows / 4)
        disc = (y - row) ** 2 + (x - col) ** 2 < radius**2
        light = np.where(disc, rng.uniform(0.02, 0.8), light)
    light *= np.where((y < rows / 3) & (x < cols / 3), 1 + 0.3 * np.sin(x), 1)
    return (light * np.array([0.5, 1, 0.6, 1])[:, None, None]).astype(np.float32)


def shoot(
    clean: NDArray[np.float32],
    ratio: float = 1.0,
    *,
    camera: str = "NikonD850",
    gain: float = 10.0,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Normalised planes of a frame that is ``ratio`` times too dark, without colour bias."""
    noise = calibrated_cameras()[camera].sample(1, gain=gain, spread=False, colour_bias=False)
    dn = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
    noisy = add_noise(dn, noise, torch.Generator().manual_seed(seed))[0] / CALIBRATED_WHITE
    return noisy.clamp_max(1).numpy()


def run_in_tiles(
    engine: ReadyNetwork, planes: NDArray[np.float32], ratio: float, noise: NoiseProfile, tile: int
) -> NDArray[np.float32]:
    """Run the network as backends without strips do; compare with ``engine.run``."""
    figures = [torch.tensor([value]) for value in (ratio, *noise)]
    with torch.inference_mode():
        return tiled(
            lambda window: engine.form(engine.net, window, *figures),
            torch.from_numpy(planes),
            tile=tile,
            halo=engine.halo,
            multiple=engine.multiple,
        ).numpy()


def psnr(planes: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """PSNR in dB of planes clipped to 0..1."""
    error = np.square(planes.clip(0, 1).astype(np.float64) - clean).mean()
    return float(-10 * np.log10(error))


def write_modulated(path: Path, sensor: str = "Led Testcam One") -> Path:
    """Write a model of adaptive domain learning that knows one sensor, with random modulation."""
    arguments = {"in_planes": 4, "channels": 4}
    torch.manual_seed(3)
    net = ModulatedNet(build("unet", arguments), [sensor])
    with torch.no_grad():
        for perceptron in (net.scale, net.shift):
            for weight in perceptron.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    spec = ModelSpec(
        name="adl",
        architecture="unet",
        arguments=arguments,
        input_form="gain",
        csa_sets=(),
        ratio_range=(1.0, 300.0),
        method="adl",
        licence="Apache-2.0",
        source="tests",
        modulation=(sensor,),
    )
    save_model(path, spec, net.state_dict())
    return path


def write_pictures(path: Path, *, cfa: str = "bayer", **description: Any) -> Path:
    """Write a model that makes pictures, with random weights."""
    values = {"name": "developer", "method": "sid", "output": "srgb"} | description
    return write_model(path, form="gain", sets=(), cfa=cfa, out_planes=3 * PLANES[cfa], **values)
