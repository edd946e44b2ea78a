import numpy as np
import pytest
import torch

from ledcli.sensor.cfa import XTransPhase, unpack
from ledcli.training.data.sampler import HOT_SCALE, Defects, sample_defects


def generator():
    return torch.Generator().manual_seed(0)


def only(**values):
    zero = torch.zeros(1)
    filled = {k: torch.tensor([v]) for k, v in values.items()}
    return Defects(**({"columns": zero, "density": zero, "hot": zero} | filled))


def test_columns_are_shared_by_the_planes_that_lie_on_them():
    read = torch.tensor([4.0])
    added = only(columns=0.5).sample(torch.zeros(1, 4, 6, 4000), read, generator())[0]
    assert torch.equal(added[:, 0], added[:, 5])  # the same down the frame
    assert torch.equal(added[0], added[3]) and torch.equal(added[1], added[2])
    assert not torch.equal(added[0], added[1])
    assert float(added.std()) == pytest.approx(2.0, rel=0.05)


def test_hot_pixels_are_few_and_bright():
    read = torch.tensor([2.0])
    added = only(density=0.01, hot=20.0).sample(torch.zeros(1, 4, 300, 300), read, generator())
    assert float((added > 0).float().mean()) == pytest.approx(0.01, rel=0.05)
    assert float(added[added > 0].mean()) == pytest.approx(40.0, rel=0.1)
    assert added.min() >= 0


def test_frames_without_any_stay_as_they_are():
    assert not only().sample(torch.zeros(1, 4, 8, 8), torch.ones(1), generator()).any()


def test_draws_are_rare_within_range_and_none_at_share_zero():
    drawn = sample_defects(4000, 1.0, np.random.default_rng(0))
    assert 0.2 < float((drawn.columns > 0).float().mean()) < 0.3
    assert 0.2 < float((drawn.density > 0).float().mean()) < 0.3
    assert HOT_SCALE[0] <= float(drawn.hot.min()) and float(drawn.hot.max()) <= HOT_SCALE[1]
    none = sample_defects(100, 0.0, np.random.default_rng(0))
    assert not none.columns.any() and not none.density.any()


def test_columns_of_an_x_trans_are_those_of_its_sensor():
    like = torch.zeros(1, 9, 6, 40)
    added = only(columns=0.5).sample(like, torch.tensor([4.0]), generator())[0].numpy()
    mosaic = unpack(added, XTransPhase(0, 0), (18, 120))
    assert (mosaic == mosaic[:1]).all() and len(np.unique(mosaic)) == 120


def test_hot_pixels_are_on_every_plane_of_an_x_trans():
    read = torch.tensor([2.0])
    added = only(density=0.01, hot=20.0).sample(torch.zeros(1, 9, 200, 200), read, generator())
    assert float((added > 0).float().mean((0, 2, 3)).min()) > 0.005
