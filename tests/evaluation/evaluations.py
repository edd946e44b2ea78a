"""A made-up evaluation: three cameras, four ratios, two models, crops of procedural scenes."""

import numpy as np

from ledcli.evaluation.results import NOISY, Crop, Evaluation, FrameResult
from ledcli.raw.colour import srgb_from_linear
from ledcli.training.data.scenes import make_scene

CAMERAS = ("SonyA7S2", "NikonD850", "Canon EOS 700D")
RATIOS = (1.0, 20.0, 100.0, 300.0)
ISOS = (800.0, 1600.0, 3200.0, 6400.0)
MODELS = (NOISY, "sony", "rival-unet")


def evaluation(*, crops=6, size=96, models=MODELS, cameras=CAMERAS):
    """The second model loses to the input at ratio 1 and wins at ratio 300."""
    rng = np.random.default_rng(5)
    frames = []
    for c, camera in enumerate(cameras):
        for r, ratio in enumerate(RATIOS):
            for i, iso in enumerate(ISOS):
                noisy = 41 - 5.5 * r - 1.2 * i - 0.8 * c
                metrics = {NOISY: noisy}
                for m, model in enumerate(models[1:]):
                    metrics[model] = noisy + (1.2 + 3.1 * r - 0.4 * m if m != 1 else -0.6 + 3.8 * r)
                frames += [
                    FrameResult(model, f"{camera}-{ratio:g}-{iso:g}", camera, iso, ratio, _all(v))
                    for model, v in metrics.items()
                ]
    made = [_crop(n, size, models, cameras[n % len(cameras)], rng, frames) for n in range(crops)]
    return Evaluation("made-up scenes", list(models), frames, made, ["IMG_0001.dng: too short"])


def _all(psnr):
    ssim = float(1 / (1 + np.exp(-(psnr - 20) / 6)))
    return {
        "psnr": psnr,
        "ssim": ssim,
        "psnr_srgb": psnr - 5.5,
        "ssim_srgb": ssim - 0.04,
        "psnr_corrected": psnr + 0.3,
        "ssim_corrected": ssim + 0.002,
        "psnr_srgb_corrected": psnr - 5.1,
        "ssim_srgb_corrected": ssim - 0.03,
    }


def _crop(n, size, models, camera, rng, frames):
    scene = make_scene(2 * size, rng)[:size, :size]
    noise = rng.standard_normal(scene.shape).astype(np.float32) * np.sqrt(scene + 0.02) * 0.25
    pictures = {
        model: _srgb(scene + noise * (1 if m == 0 else 0.08 + 0.1 * m))
        for m, model in enumerate(models)
    }
    ratio = RATIOS[n % len(RATIOS)]
    psnr = {
        f.model: f.metrics["psnr"]
        for f in frames
        if (f.camera, f.ratio, f.iso) == (camera, ratio, 1600.0)
    }
    return Crop(f"{camera}-{ratio:g}-1600", camera, 1600.0, ratio, pictures, _srgb(scene), psnr)


def _srgb(linear):
    return np.rint(srgb_from_linear(np.clip(linear, 0, 1).astype(np.float32)) * 255).astype(
        np.uint8
    )
