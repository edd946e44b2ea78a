import numpy as np
import pytest
import torch

from ledcli.inference.postprocess import equilibrate_greens
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.cfa import MonoPhase, Phase, XTransPhase, pack

NOISE = NoiseProfile(gain=0.0, read_variance=0.01**2)


@pytest.mark.parametrize("ratio", [1.0, 50.0])
def test_two_greens_of_one_grey_become_one(ratio):
    planes = torch.full((4, 40, 48), 0.3)
    planes[1] += 0.004
    planes[3] -= 0.002
    result = equilibrate_greens(planes * ratio, ratio, NOISE, Phase.RGGB) / ratio
    torch.testing.assert_close(result[1], torch.full((40, 48), 0.301))
    torch.testing.assert_close(result[3], torch.full((40, 48), 0.301))
    assert (result[0] == planes[0]).all()
    assert (result[2] == planes[2]).all()


@pytest.mark.parametrize("ratio", [1.0, 50.0])
def test_the_four_planes_of_a_monochrome_sensor_become_one(ratio):
    planes = torch.full((4, 40, 48), 0.3) + torch.tensor([2, -3, 4, 1])[:, None, None] / 1000
    result = equilibrate_greens(planes * ratio, ratio, NOISE, MonoPhase.MONO) / ratio
    torch.testing.assert_close(result, torch.full((4, 40, 48), 0.301))


@pytest.mark.parametrize("phase", [*Phase, MonoPhase.MONO])
def test_a_slope_is_no_difference(phase):
    rows, cols = np.mgrid[:128, :160].astype(np.float32)
    mosaic = (0.1 + 0.002 * rows + 0.001 * cols).astype(np.float32)
    planes = torch.from_numpy(pack(mosaic, phase))
    before = planes.clone()
    result = equilibrate_greens(planes, 1.0, NOISE, phase)
    inside = np.s_[:, 4:-4, 4:-4]
    torch.testing.assert_close(result[inside], before[inside], atol=1e-6, rtol=0)


def test_detail_stronger_than_the_noise_stays():
    planes = torch.full((4, 40, 48), 0.3)
    planes[1, ::2] = 0.5
    before = planes.clone()
    result = equilibrate_greens(planes, 1.0, NOISE, Phase.GRBG)
    torch.testing.assert_close(result, before)


def test_bands_do_not_show():
    generator = torch.Generator().manual_seed(0)
    planes = 0.3 + 0.003 * torch.randn((4, 600, 32), generator=generator)
    whole = equilibrate_greens(planes.clone(), 1.0, NOISE, Phase.RGGB)
    part = equilibrate_greens(planes[:, 200:330].clone(), 1.0, NOISE, Phase.RGGB)
    torch.testing.assert_close(whole[:, 210:320], part[:, 10:120])


def test_the_greens_of_an_x_trans_are_left_as_they_are():
    planes = torch.rand(9, 20, 24, generator=torch.Generator().manual_seed(0))
    before = planes.clone()
    assert torch.equal(equilibrate_greens(planes, 1.0, NOISE, XTransPhase(1, 2)), before)
