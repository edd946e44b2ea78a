import math

import pytest
import torch

from ledcli.noise.physics import stabilise
from ledcli.training.methods.led import (
    LINEAR_FLOOR,
    PAST_WHITE,
    STABLE_FLOOR,
    frame_loss,
    log_error,
    under_white,
)


def test_the_log_error_falls_by_the_same_for_every_frame_whose_error_halves():
    torch.manual_seed(0)
    error = torch.randn(2, 4, 16, 16) * torch.tensor([1.0, 0.01]).reshape(2, 1, 1, 1)
    for frame in range(2):
        halved = error.clone()
        halved[frame] /= 2
        fall = float(log_error(error, 0.0) - log_error(halved, 0.0))
        assert fall == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_past_white_little_counts_but_the_slope_stays():
    x = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    bent = under_white(x)
    assert bent.tolist() == pytest.approx([0.5, 1.0, 1 + PAST_WHITE])
    bent.sum().backward()
    assert x.grad.tolist() == pytest.approx([1.0, 1.0, PAST_WHITE], abs=1e-6)


def test_a_clean_frame_reaches_the_floor():
    clean = torch.rand(2, 4, 8, 8)
    level, t0 = torch.full((2, 1, 1, 1), 0.02), torch.full((2, 1, 1, 1), 2.0)
    exact = frame_loss(stabilise(clean / level, t0), clean, level, t0)
    floor = (math.log(STABLE_FLOOR) + math.log(LINEAR_FLOOR)) / 4
    assert float(exact) == pytest.approx(floor, abs=1e-3)
    wrong = frame_loss(stabilise(clean / level, t0) + 0.1, clean, level, t0)
    assert float(wrong) > float(exact) + 1


def test_what_does_not_count_changes_nothing():
    torch.manual_seed(0)
    error = torch.randn(2, 4, 8, 8)
    counts = torch.ones_like(error)
    counts[:, :, :, 4:] = 0
    spoilt = error.clone()
    spoilt[:, :, :, 4:] = 1e3
    assert float(log_error(spoilt, 0.0, counts)) == float(log_error(error, 0.0, counts))
    assert float(log_error(error, 0.0, counts)) == pytest.approx(
        float(log_error(error[..., :4], 0.0)), rel=1e-5
    )
