"""The measuring stick of tests/benchmarks: what must not move, and that it tells bad from good."""

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import evenness
from facts import BM3D, NOISY, PMRID, TRIALS, facts_of, twelve
from figures import detailed_blocks, figures, summary
from protocol import CELLS, Cell, Photo, Shot, cells


@pytest.fixture
def photo(tmp_path):
    """Smooth above, checkered in one corner below."""
    coded = np.full((128, 128, 3), 120, np.uint8)
    coded[96:, 96:] += (80 * (np.indices((32, 32)).sum(0) // 2 % 2)).astype(np.uint8)[..., None]
    iio.imwrite(tmp_path / "photo.png", coded)
    return Photo(tmp_path / "photo.png")


def test_cells_measured_elsewhere_keep_their_names_and_so_their_noise(photo):
    assert len({cell.name for cell in CELLS}) == len(CELLS) == 48
    names = [cell.name for cell in twelve()]
    assert names[0] == "SonyA7S2-1" and names[-1] == "CanonEOS700D-300"
    assert list(PMRID.scores) == names
    assert [len(trial.scores) for trial in TRIALS] == [8, 12, 12]
    key = Shot(photo, Cell("NikonD850", 10.0, 100.0)).key
    assert key == f"v1 photo.png {photo.sha256[:12]} NikonD850-100 K10 crop0"


def test_cells_are_named_in_part():
    assert [cell.name for cell in cells("A7S2-1")] == ["SonyA7S2-1"]
    assert {cell.gain for cell in cells("k2.5")} == {2.5}
    assert len(cells("-300")) == 8
    with pytest.raises(SystemExit, match="no such cell"):
        cells("leica")


def test_the_noise_follows_from_photo_and_cell_alone(photo):
    shot = Shot(photo, Cell("SonyA7S2", 3.0, 20.0))
    again = Shot(photo, Cell("SonyA7S2", 3.0, 20.0)).short
    np.testing.assert_array_equal(shot.short, again)
    assert not np.array_equal(shot.short, Shot(photo, Cell("SonyA7S2", 0.75, 20.0)).short)


def test_texture_is_where_the_detail_is(photo):
    mask = detailed_blocks(photo.planes)
    assert mask.shape == (64, 64)
    assert mask[48:, 48:].all()
    assert mask.sum() == 2 * 16 * 16


def test_a_blur_costs_texture_most_and_a_shift_shows_as_bias(photo):
    clean = photo.planes
    blurred = (clean + np.roll(clean, 1, 1) + np.roll(clean, 1, 2)) / 3
    soft = figures(blurred, photo)
    assert soft.detail < soft.psnr - 3
    shifted = clean + np.float32([0.002, 0, 0, 0])[:, None, None]
    found = figures(shifted, photo)
    np.testing.assert_allclose(found.bias, [0.002, 0, 0, 0], atol=1e-7)
    assert found.delta_e > 0.1
    both = summary([found.as_json(), found._replace(bias=(-0.002, 0, 0, 0)).as_json()])
    assert both["bias"][0] == 0
    assert both["absolute_bias"][0] == pytest.approx(0.002, abs=1e-6)


def _cell(name, ratio, **psnr):
    same = {"ssim": 0.9, "detail": 30, "delta_e": 2, "bias": [0, -0.003, 0, 0]}
    same["absolute_bias"] = [0.004, 0.003, 0, 0]
    figures = {m: value and {"psnr": value, **same} for m, value in psnr.items()}
    names = {"noisy": NOISY, "bm3d": BM3D, "led": "led"}
    return {"cell": name, "ratio": ratio, "figures": {names[m]: f for m, f in figures.items()}}


def test_facts_count_cells_and_leave_out_what_is_not_known():
    results = [
        _cell("SonyA7S2-1", 1, noisy=45, bm3d=46, led=45.5),
        _cell("SonyA7S2-100", 100, noisy=20, bm3d=31, led=30),
        _cell("SonyA7S2-200", 200, noisy=20, bm3d={}, led=19),
    ]
    found = {fact.name: fact for fact in facts_of(results, "led", standard=NOISY)}
    assert found[f"mean over {NOISY}"].value == pytest.approx(9.5 / 3, abs=1e-4)
    assert facts_of(results, "led", standard="led")[2].value is None
    assert found["least over the noisy input"].value == -1
    assert "under 0 in 1 of 3 cells" in found["least over the noisy input"].reached
    assert found["mean over BM3D"].value == -0.75
    assert found["ratio 200: mean over BM3D"].value is None
    assert found["mean over PMRID, the twelve cells"].reached.endswith("(2 cells)")
    bias = found["ratio 100: mean error of a plane, worst plane and cell"]
    assert bias.value == -0.003 and "-0.300%" in bias.reached


def test_a_checkerboard_stands_out_of_noise_and_noise_does_not():
    random = np.random.default_rng(5)
    draws = [random.normal(1, 0.05, (4, 96, 96)).astype(np.float32) for _ in range(6)]
    clean = evenness.phases(draws, 2)
    assert clean.rms < 4 * clean.chance
    for planes in draws:
        planes[2, ::2, ::2] += 0.01
    found = evenness.phases(draws, 2)
    assert found.rms > 5 * found.chance
    assert found.largest == pytest.approx(0.0075, abs=0.002)


def test_bands_and_seams_show():
    row = np.broadcast_to(np.linspace(0.1, 0.8, 512), (4, 64, 512)).astype(np.float32)
    noise = np.random.default_rng(6).normal(0, 0.003, row.shape).astype(np.float32)
    smooth = evenness.steps(row + noise, row)
    banded = evenness.steps(np.round(row * 50) / 50 + noise, row)
    assert banded.largest / banded.median > 2 * smooth.largest / smooth.median
    assert evenness.steps(np.round((row + noise) * 64) / 64, row).levels < 0.2 < smooth.levels
    tiled = row.copy()
    tiled[:, :, 128:256] += 0.001
    assert evenness.seams(tiled, row, 128).step == pytest.approx(0.001, rel=0.01)
