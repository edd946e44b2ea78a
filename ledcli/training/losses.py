"""Losses: in the stabilised domain, where the noise has unit variance, and in linear light."""

import torch
from torch import Tensor, nn

from ledcli.nets.forms import Form, StabilisedForm
from ledcli.noise.vst import electron_scale, stabilise, unstabilise
from ledcli.training.data.sampler import Batch

STABLE_FLOOR, LINEAR_FLOOR = 1e-4, 1e-7
"""Mean square errors below which a frame counts as clean: a hundredth of the noise's standard
deviation; 70 dB."""
PAST_WHITE = 0.05
"""Weight of an error above white: highlights are clipped there, but keep a slope."""
PERIODS = (2, 4, 8)
"""Periods, in plane pixels, of the patterns that transposed convolutions leave."""
CLIPPED = 0.98
"""Of white: where the truth is brighter the long frame may be clipped."""


def known(clean: Tensor) -> Tensor:
    """Return 1 where a shot truth is known, 0 where the long frame may be clipped."""
    return (clean < CLIPPED).float()


def mean_known(values: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the values that count."""
    return (values * counts).sum() / counts.sum().clamp_min(1)


def form_loss(
    form: Form,
    net: nn.Module,
    batch: Batch,
    gain: Tensor,
    variance: Tensor,
    *,
    shot: bool = True,
    pattern_weight: float = 0.0,
) -> Tensor:
    """Return the loss where the input form puts the noise.

    ``gain``: L1 between the planes times the ratio, as published. ``stabilised``: every frame by
    the logarithm of its error, so that all ratios have the same weight.

    ``gain`` and ``variance`` ``(N,)`` are the noise profiles that the network is given. If the
    truth was ``shot``, its clipped pixels do not count. ``pattern_weight`` is that of `frame_loss`,
    for ``stabilised``.
    """
    counts = known(batch.clean) if shot else None
    if not isinstance(form, StabilisedForm):
        error = (form(net, batch.x, batch.ratio, gain, variance) - batch.clean).abs()
        return error.mean() if counts is None else mean_known(error, counts)
    gain, t0 = electron_scale(gain.reshape(-1, 1, 1, 1), variance.reshape(-1, 1, 1, 1))
    denoised = form.denoise(net, stabilise(batch.x / gain, t0), t0)
    level = gain * batch.ratio.reshape(-1, 1, 1, 1)
    return frame_loss(denoised, batch.clean, level, t0, counts, pattern_weight)


def frame_loss(
    denoised: Tensor,
    clean: Tensor,
    level: Tensor,
    t0: Tensor,
    counts: Tensor | None = None,
    pattern_weight: float = 0.0,
) -> Tensor:
    """Return what the stabilised form trains on: every frame by the logarithm of its error.

    Half of it in standard deviations of noise, where dark and bright weigh alike, half in linear
    light, where PSNR is measured.

    Parameters
    ----------
    denoised : Tensor ``(N, 4, h, w)``
        The network's stabilised planes.
    clean : Tensor ``(N, 4, h, w)``
        The truth times the ratio, clipped at 1; what is denoised above 1 counts little.
    level, t0 : Tensor ``(N, 1, 1, 1)``
        Gain times ratio, and the transform's offset (noise/vst.py).
    counts : Tensor ``(N, 4, h, w)``, optional
        1 where the truth is known, 0 elsewhere.
    pattern_weight : float
        Weight of the part of the error that repeats (`pattern_error`): a checkerboard hardly counts
        in a mean square error, but is seen.
    """
    stable = denoised - stabilise(clean / level, t0)
    linear = under_white(unstabilise(denoised, t0) * level) - clean
    pattern = pattern_weight * pattern_error(stable) if pattern_weight else 0.0
    in_noise = log_error(stable, STABLE_FLOOR, counts, pattern)
    return (in_noise + log_error(linear, LINEAR_FLOOR, counts)) / 2


def pattern_error(error: Tensor) -> Tensor:
    """Return ``(N,)``, how much of the error ``(N, planes, h, w)`` repeats.

    For each period, the variance of the mean error over the period's phases, times the samples of
    a phase; then the mean over the periods. Without a pattern that is about the mean square error.
    """
    total = torch.zeros(len(error), device=error.device)
    for period in PERIODS:
        rows, cols = (n // period for n in error.shape[2:])
        if rows * cols < 2:
            continue
        cut = error[:, :, : rows * period, : cols * period]
        phases = cut.unflatten(3, (cols, period)).unflatten(2, (rows, period)).mean((2, 4))
        total = total + rows * cols * phases.var((2, 3), correction=0).mean(1)
    return total / len(PERIODS)


def log_error(
    error: Tensor,
    floor: float,
    counts: Tensor | None = None,
    added: Tensor | float = 0.0,
) -> Tensor:
    """Return the mean over frames of the logarithm of the root mean square error, in nepers.

    That is PSNR divided by -8.7. A frame of deep noise, whose error is a tenth of the noise's
    deviation, so has the same weight as a clean one, where half of the noise must stay.

    ``counts`` are weights of the mean of ``error``, both ``(N, planes, h, w)``. To the mean square
    errors are added ``added`` ``(N,)``, and ``floor``, below which an error does not matter.
    """
    if counts is None:
        mean = error.square().mean((1, 2, 3))
    else:
        total = (error.square() * counts).sum((1, 2, 3))
        mean = total / counts.sum((1, 2, 3)).clamp_min(1)
    return (mean + added + floor).log().mean() / 2


def under_white(x: Tensor) -> Tensor:
    """Compress what lies above white (1), where PSNR clips."""
    return torch.where(x > 1, 1 + PAST_WHITE * (x - 1), x)
