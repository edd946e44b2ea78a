"""`--quality best`: the average of four mirrored passes."""

import numpy as np
import pytest
import torch

from ledcli.errors import ModelError
from ledcli.inference.denoiser import self_ensemble


def test_what_is_the_same_in_all_passes_is_unchanged():
    frame = torch.rand(4, 12, 16)
    assert torch.allclose(self_ensemble(lambda x, r: x * r, frame, 100.0), frame * 100)


def test_what_differs_from_pass_to_pass_is_averaged():
    seen = []

    def lopsided(x, ratio):
        seen.append(x)
        return x + torch.arange(float(x.shape[2]))

    frame = torch.rand(4, 12, 16)
    result = self_ensemble(lopsided, frame, 1.0)
    # Mirrored, a mosaic begins with a column of the other colours: these are one further right.
    middle = torch.tensor([8, 7.5, 7.5, 8])[:, None, None]
    assert torch.allclose(result, frame + middle, atol=1e-5)
    assert len(seen) == 4 and all(not torch.equal(seen[0], other) for other in seen[1:])


def test_its_error_is_smaller(bundled_denoiser, noisy_and_clean):
    noisy, clean, noise = noisy_and_clean
    errors = [
        np.square(bundled_denoiser.denoise(noisy, 100.0, noise=noise, ensemble=on) - clean).mean()
        for on in (False, True)
    ]
    assert errors[1] < 0.995 * errors[0]


def test_an_xtrans_frame_is_refused():
    with pytest.raises(ModelError, match="Bayer"):
        self_ensemble(lambda x, r: x, torch.rand(9, 8, 8), 1.0)


@pytest.fixture(scope="module")
def bundled_denoiser():
    from ledcli.inference.denoiser import Denoiser
    from ledcli.zoo.store import find_model

    found = find_model("generic")
    return Denoiser(found.path, found.csa_set, device="cpu")


@pytest.fixture(scope="module")
def noisy_and_clean():
    from ledcli.noise.estimate import NoiseProfile
    from tests.training.cameras import CAMERA, WHITE, scene, shoot

    clean = scene(256, 256)
    noise = CAMERA.sample(1, gain=1.0, spread=False, colour_bias=False)
    line = NoiseProfile(1.0 / WHITE, float(noise.pixel_variance()) / WHITE**2)
    return shoot(clean, 400, 100, 0), clean, line
