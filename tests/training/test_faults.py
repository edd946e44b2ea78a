from dataclasses import replace

import numpy as np
import pytest
import torch

from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.estimate import estimate_noise
from ledcli.sensor.cfa import XTransPhase, unpack
from ledcli.training.data import faults
from ledcli.training.data.faults import (
    HOT_SCALE,
    Defects,
    Faults,
    sample_defects,
    sample_faults,
)
from ledcli.training.data.sampler import short_frames

NIKON = calibrated_cameras()["NikonD850"]


def generator():
    return torch.Generator().manual_seed(0)


def only(**values):
    zero = torch.zeros(1)
    filled = {k: torch.tensor([v]) for k, v in values.items()}
    return Defects(**({"columns": zero, "density": zero, "hot": zero} | filled))


def test_no_frame_is_waited_for():
    # Nothing can be read from the device "meta", and nothing on it be mixed with the CPU's.
    frames, read = torch.empty(3, 4, 16, 16, device="meta"), torch.empty(3, device="meta")
    made = sample_faults(3, 4, 100.0, np.random.default_rng(0))
    assert all(each.bool().any() for each in (made.rows, made.smoothing, made.defective, made.step))
    results = [
        made.apply(frames, read, CALIBRATED_WHITE, None),
        made.smooth(frames),
        *made.noise_profile(read, read),
        sample_defects(3, 100.0, np.random.default_rng(0)).sample(frames, read, None),
    ]
    assert {result.device.type for result in results} == {"meta"}


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


def faulty(count=1, **values):
    none = sample_faults(count, 4, 0.0, np.random.default_rng(0))
    given = {"known": 0.0, "pedestal": 0.0, "slope_down": 0.0, "slope_right": 0.0} | values
    return replace(none, **{name: torch.full((count,), v) for name, v in given.items()})


def frame(frame_faults, level=0.2, ratio=20.0, side=256, camera=NIKON):
    noise = camera.sample(1, gain=10.0, spread=False, colour_bias=False)
    clean = torch.full((1, 4, side, side), level)
    return short_frames(clean, torch.tensor([ratio]), noise, generator(), faults=frame_faults)


def test_without_faults_a_frame_is_that_of_the_noise_model():
    plain, none = frame(None), frame(faulty())
    torch.testing.assert_close(plain.x, none.x)
    assert float(plain.read_variance) == pytest.approx(float(none.read_variance))


def test_usual_shares_are_drawn_for_each_fault():
    drawn = sample_faults(8000, 4, 1.0, np.random.default_rng(0))
    parts = {
        "rows": faults.BAND_ROW_SHARE,
        "columns": faults.BAND_COLUMN_SHARE,
        "vignetting": faults.VIGNETTING_SHARE,
        "smoothing": faults.SMOOTHING_SHARE,
        "defective": faults.DEFECTIVE_SHARE,
        "step": faults.COARSE_SHARE,
    }
    for name, share in parts.items():
        values = getattr(drawn, name)
        assert float((values > 0).float().mean()) == pytest.approx(share, abs=0.02), name
    assert float(drawn.clip.isfinite().float().mean()) == pytest.approx(faults.CLIP_SHARE, abs=0.01)
    assert float(drawn.black.any(1).float().mean()) == pytest.approx(faults.BLACK_SHARE, abs=0.02)


def test_a_corrected_vignette_keeps_the_light_and_raises_the_noise():
    """Factor 4 after the sensor: a quarter of the light was measured, times four."""
    plain, corrected = frame(faulty()), frame(faulty(vignetting=float(np.log(4))))
    assert float(corrected.x.mean()) == pytest.approx(float(plain.x.mean()), rel=0.01)
    known = frame(faulty(vignetting=float(np.log(4)), known=1.0))
    variance = float(known.gain * plain.clean[0, 0, 0, 0] / 20 + known.read_variance)
    row = 16 * float(NIKON.row.sample(torch.tensor([10.0]), None, False)) ** 2
    assert float(corrected.x.var()) == pytest.approx(variance + row / CALIBRATED_WHITE**2, rel=0.05)
    # An estimate for the middle of the frame does not see it.
    assert float(corrected.gain) == float(plain.gain)


def test_a_smoothed_frame_s_noise_profile_is_what_the_estimate_finds():
    batch = frame(faulty(smoothing=0.1), side=768)
    found = estimate_noise(batch.x[0].numpy())
    level = 0.2 / 20
    assert found.gain * level + found.read_variance == pytest.approx(
        float(batch.gain * level + batch.read_variance), rel=0.1
    )


def test_the_truth_of_a_smoothed_frame_is_smoothed_too():
    clean = torch.zeros(1, 4, 9, 9)
    clean[..., 4, 4] = 1
    smoothed = faulty(smoothing=0.1).smooth(clean)
    assert float(smoothed[0, 0, 4, 4]) == pytest.approx(1 / 1.8)
    assert float(smoothed[0, 0, 4, 5]) == pytest.approx(0.1 / 1.8)


def test_defective_pixels_are_few_and_dark_or_bright():
    dn, read = torch.full((1, 4, 300, 300), 1000.0), torch.tensor([5.0])
    changed = faulty(defective=0.01).with_defective_pixels(dn, read, CALIBRATED_WHITE, generator())
    differs = changed != dn
    assert float(differs.float().mean()) == pytest.approx(0.0085, abs=0.0015)
    assert float(changed[changed < dn].max()) < 670 and float(changed.max()) > 8000
    stored = faulty(defective=0.01, pedestal=512.0).with_defective_pixels(
        dn, read, CALIBRATED_WHITE, generator()
    )
    assert set(stored[stored < dn].tolist()) == {-512.0}


def test_a_frame_clipped_at_black_has_nothing_below():
    dn = torch.randn(1, 4, 50, 50, generator=generator())
    saved = faulty(clip=0.0).quantise_and_clip(dn, torch.tensor([1.0]), generator())
    assert float(saved.min()) == 0 and torch.equal(saved, dn.clamp_min(0))


def test_a_coarse_frame_has_few_values():
    dn = torch.randn(1, 4, 100, 100, generator=generator())
    saved = faulty(step=2.0).quantise_and_clip(dn, torch.tensor([1.0]), generator())
    values = saved.unique()
    assert len(values) < 8
    torch.testing.assert_close(values.diff(), torch.full_like(values.diff(), 2.0))


def test_the_black_error_differs_by_plane():
    wrong = replace(faulty(), black=torch.tensor([[1.0, 0.0, -1.0, 0.5]]))
    moved = (frame(wrong).x - frame(faulty()).x).mean((2, 3))[0] * CALIBRATED_WHITE
    torch.testing.assert_close(moved, torch.tensor([1.0, 0.0, -1.0, 0.5]), atol=1e-2, rtol=0)


def test_row_and_column_patterns_lie_along_sensor_lines():
    read = NIKON.sample(1, gain=10.0, spread=False).pixel_variance().sqrt()
    patterned = (frame(faulty(columns=0.5)).x - frame(faulty()).x)[0, 0] * CALIBRATED_WHITE
    torch.testing.assert_close(patterned[0], patterned[-1], atol=0.02, rtol=0)
    assert float(patterned[0].std() / read) == pytest.approx(0.5, rel=0.15)


def test_faults_move_between_devices():
    assert isinstance(faulty().to("cpu"), Faults)
