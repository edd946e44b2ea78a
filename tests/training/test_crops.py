import errno
import os

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledcli.errors import OutputError, TrainingError
from ledcli.raw.colour import linear_from_srgb
from ledcli.raw.reader import read_raw
from ledcli.sensor.layout import XTRANS
from ledcli.training.data import crops as crops_module
from ledcli.training.data.crops import (
    FULL_SCALE,
    crop_noise,
    encode,
    load_crops,
    pack_crops,
    pack_rgb,
)
from tests.shoot import MONO, make_raw

SIDE = 32
CROP_BYTES = 2 * 4 * (SIDE + 1) ** 2


def megabytes(crops):
    return crops * CROP_BYTES / 1e6


def decode(coded):
    return (coded.astype(np.float64) / FULL_SCALE) ** 2


def write_photo(path, colour=(200, 120, 40), shape=(150, 200), depth=8, **how):
    """A photograph of one colour with a darker quarter."""
    rgb = np.empty((*shape, 3), np.uint8 if depth == 8 else np.uint16)
    rgb[:] = np.array(colour) * (1 if depth == 8 else 257)
    rgb[: shape[0] // 2, : shape[1] // 2] //= 2
    iio.imwrite(path, rgb, **how)


def colours_of(crops):
    return np.unique(np.round(decode(crops).max(axis=(2, 3)), 2), axis=0)


def test_the_file_has_the_size_asked_for(tmp_path):
    out = tmp_path / "crops.npy"
    assert pack_crops(None, out, megabytes=megabytes(10), side=SIDE) == 10
    crops = load_crops(out)
    assert crops.shape == (10, 4, SIDE + 1, SIDE + 1) and crops.dtype == np.uint16
    assert out.stat().st_size == pytest.approx(10 * CROP_BYTES, abs=256)
    assert [p.name for p in tmp_path.iterdir()] == ["crops.npy"]  # nothing half-made stays
    assert all(crop.std() > 0 for crop in crops)


def test_the_same_seed_makes_the_same_file(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pack_crops(None, tmp_path / name, megabytes=megabytes(3), side=SIDE, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_full_disk_is_told_before_anything_is_packed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match=r"c\.npy: cannot be written: the disk is full"):
        pack_crops(None, tmp_path / "c.npy", megabytes=megabytes(3), side=SIDE)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say which blocks a file has")
@pytest.mark.parametrize("reserves", [True, False])
def test_the_file_has_its_blocks_before_its_map_is_written_to(tmp_path, monkeypatch, reserves):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    make_scene, blocks = crops_module.make_scene, []

    def noted(*given):
        (part,) = tmp_path.iterdir()
        blocks.append(512 * part.stat().st_blocks)
        return make_scene(*given)

    monkeypatch.setattr(crops_module, "make_scene", noted)
    pack_crops(None, tmp_path / "c", megabytes=megabytes(3), side=SIDE)
    assert min(blocks) >= 3 * CROP_BYTES
    assert len(load_crops(tmp_path / "c")) == 3


def test_two_that_pack_one_file_at_once_leave_it_whole(tmp_path, monkeypatch):
    make_scene = crops_module.make_scene
    how = {"megabytes": megabytes(3), "side": SIDE}
    pack_crops(None, tmp_path / "alone", seed=1, **how)

    def meanwhile(*given):
        monkeypatch.setattr(crops_module, "make_scene", make_scene)
        pack_crops(None, tmp_path / "c", seed=2, **how)
        return make_scene(*given)

    monkeypatch.setattr(crops_module, "make_scene", meanwhile)
    pack_crops(None, tmp_path / "c", seed=1, **how)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "alone").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["alone", "c"]


@given(st.floats(0, 1))
def test_coding_costs_less_than_a_step_of_14_bits(light):
    error = abs(float(decode(encode(np.float32([light])))[0]) - light)
    assert error < 0.5 / 16383
    # In the dark the steps are far finer: a thousandth of white keeps three digits.
    assert error <= max(2 * light**0.5 / FULL_SCALE, 1e-9)


def test_coding_clips_to_black_and_white():
    assert encode(np.float32([-1, 2])).tolist() == [0, FULL_SCALE]


def test_srgb_is_taken_back_to_linear():
    coded = np.float32([0, 0.04045, 0.5, 1])
    np.testing.assert_allclose(linear_from_srgb(coded), [0, 0.0031308, 0.2140411, 1], rtol=1e-4)


def test_planes_are_the_colours_of_an_rggb_mosaic():
    rgb = np.arange(4 * 4 * 3, dtype=np.float32).reshape(4, 4, 3)
    red, green1, blue, green2 = pack_rgb(rgb)
    assert np.array_equal(red, rgb[::2, ::2, 0]) and np.array_equal(blue, rgb[1::2, 1::2, 2])
    assert np.array_equal(green1, rgb[::2, 1::2, 1]) and np.array_equal(green2, rgb[1::2, ::2, 1])


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "C.JPEG", "d.tif", "e.webp"])
def test_a_photograph_becomes_linear_planes_of_its_colour(tmp_path, name):
    photos = tmp_path / "photos"
    photos.mkdir()
    write_photo(photos / name)
    told = []
    pack_crops(
        photos, tmp_path / "c", megabytes=megabytes(8), scenes=0, side=SIDE, report=told.append
    )
    assert told == []
    bright = decode(load_crops(tmp_path / "c")).max(axis=(2, 3)).max(axis=0)
    # Mixed a little towards grey: the red plane has less red, the blue one more blue. JPEG's
    # colours are coarse.
    linear = linear_from_srgb(np.float32([200, 120, 120, 40]) / 255)
    grey = linear_from_srgb(np.float32([200, 120, 40]) / 255).mean()
    low, high = np.minimum(linear, grey) - 0.1, np.maximum(linear, grey) + 0.1
    red, green1, blue, green2 = bright
    assert low[0] <= red <= high[0]
    assert low[1] <= green1 <= high[1] and low[1] <= green2 <= high[1]
    assert low[3] <= blue <= high[3]
    assert red > green1 > blue


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_photograph_of_16_bits_keeps_its_brightness(tmp_path, name):
    photos = tmp_path / "photos"
    photos.mkdir()
    plugin = {"plugin": "tifffile"} if name.endswith("tif") else {"extension": ".png"}
    if name.endswith("png"):
        cv = pytest.importorskip("imagecodecs")
        rgb = np.full((150, 200, 3), 120 * 257, np.uint16)
        (photos / name).write_bytes(cv.png_encode(rgb))
    else:
        write_photo(photos / name, colour=(120, 120, 120), depth=16, **plugin)
    told = []
    pack_crops(
        photos, tmp_path / "c", megabytes=megabytes(4), scenes=0, side=SIDE, report=told.append
    )
    assert told == []
    grey = float(linear_from_srgb(np.float32([120 / 255]))[0])
    assert decode(load_crops(tmp_path / "c")).max() == pytest.approx(grey, rel=0.05)


def test_a_raw_is_taken_as_it_is(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    light = np.linspace(0.25, 0.75, 128)[:, None].repeat(160, 1)
    make_raw(photos / "a.NEF", light=light, gain=0, read_noise=0, phase="BGGR")
    pack_crops(photos, tmp_path / "c", megabytes=megabytes(3), scenes=0, side=SIDE)
    crops = decode(load_crops(tmp_path / "c"))
    assert crops.min() > 0.24 and crops.max() < 0.76
    # No sRGB curve, no shrinking: every row of a plane is two rows of the mosaic further.
    np.testing.assert_allclose(np.diff(crops, axis=2), 2 * 0.5 / 127, atol=2e-4)


def test_an_hdr_picture_is_scaled_to_white(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    photos = tmp_path / "photos"
    photos.mkdir()
    light = np.linspace(0.1, 50, 160, dtype=np.float32)[None, :, None].repeat(120, 0).repeat(3, 2)
    (photos / "a.hdr").write_bytes(imagecodecs.rgbe_encode(light))
    pack_crops(photos, tmp_path / "c", megabytes=megabytes(3), scenes=0, side=SIDE)
    crops = decode(load_crops(tmp_path / "c"))
    assert 0.9 < crops.max() <= 1 and crops.min() < 0.7


def test_subfolders_count_and_scenes_fill_their_share(tmp_path):
    photos = tmp_path / "photos" / "2024"
    photos.mkdir(parents=True)
    write_photo(photos / "grey.png", colour=(128, 128, 128))
    pack_crops(tmp_path / "photos", tmp_path / "c", megabytes=megabytes(20), scenes=0.25, side=SIDE)
    crops = decode(load_crops(tmp_path / "c"))
    grey = linear_from_srgb(np.float32([128 / 255]))[0]
    of_photo = np.isclose(crops.max(axis=(1, 2, 3)), grey, atol=0.003)
    assert of_photo[:15].mean() > 0.7 and len(crops) == 20


def broken_png(path):
    write_photo(path, shape=(300, 300))
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)


def cut_jpg(path):
    write_photo(path)
    path.write_bytes(path.read_bytes()[:300])


def empty_raw(path):
    path.write_bytes(b"")


def small(path):
    write_photo(path, shape=(20, 20))


@pytest.mark.parametrize(
    "name,spoil",
    [
        ("bad.png", lambda path: path.write_bytes(b"no picture")),
        ("bad.png", broken_png),
        ("bad.jpg", cut_jpg),
        ("bad.tif", lambda path: path.write_bytes(b"II*\0")),
        ("bad.hdr", lambda path: path.write_bytes(b"#?RADIANCE\n")),
        ("bad.CR2", empty_raw),
        ("bad.png", small),
    ],
)
def test_a_photograph_that_cannot_be_read_is_reported_and_skipped(tmp_path, name, spoil):
    photos = tmp_path / "photos"
    photos.mkdir()
    spoil(photos / name)
    write_photo(photos / "good.png")
    told = []
    count = pack_crops(
        photos, tmp_path / "c", megabytes=megabytes(6), scenes=0, side=SIDE, report=told.append
    )
    assert count == 6
    assert len(told) == 1 and name in told[0] and "\n" not in told[0]
    # The good one gives all of them.
    assert decode(load_crops(tmp_path / "c"))[:, 0].max(axis=(1, 2)).min() > 0.03


def test_a_folder_without_a_usable_photograph_is_an_error(tmp_path):
    empty, bad = tmp_path / "empty", tmp_path / "bad"
    empty.mkdir()
    bad.mkdir()
    (bad / "a.png").write_bytes(b"no picture")
    for folder in (empty, bad, tmp_path / "missing"):
        with pytest.raises(TrainingError, match="no photograph that can be read"):
            pack_crops(folder, tmp_path / "c", megabytes=megabytes(4), side=SIDE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "empty"]


def test_a_size_too_small_for_one_crop_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="larger size"):
        pack_crops(None, tmp_path / "c", megabytes=megabytes(0.5), side=SIDE)


def foreign(kind):
    return {
        "floats": np.zeros((2, 4, 8, 8), np.float32),
        "three planes": np.zeros((2, 3, 8, 8), np.uint16),
        "one crop": np.zeros((4, 8, 8), np.uint16),
        "empty": np.zeros((0, 4, 8, 8), np.uint16),
    }[kind]


@pytest.mark.parametrize("kind", ["floats", "three planes", "one crop", "empty"])
def test_another_array_is_no_crop_file(tmp_path, kind):
    np.save(tmp_path / "c.npy", foreign(kind))
    with pytest.raises(TrainingError, match="is not a crop file"):
        load_crops(tmp_path / "c.npy")


def test_another_file_is_no_crop_file_and_nothing_is_unpickled(tmp_path):
    path = tmp_path / "c.npy"
    for content in (b"", b"PK\3\4 no archive", b"text\n"):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="is not a crop file"):
            load_crops(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TrainingError, match="is not a crop file"):
        load_crops(path)
    with pytest.raises(TrainingError, match="is not a crop file"):
        load_crops(tmp_path / "missing.npy")


def test_a_crop_file_of_an_x_trans_has_nine_planes_and_room_to_augment(tmp_path):
    out = tmp_path / "crops.npy"
    one = 2 * 9 * (SIDE + 2) ** 2 / 1e6
    assert pack_crops(None, out, megabytes=3.5 * one, side=SIDE, cfa="xtrans") == 3
    crops = load_crops(out, "xtrans")
    assert crops.shape == (3, 9, SIDE + 2, SIDE + 2)
    assert all(crop.std() > 0 for crop in crops)
    with pytest.raises(TrainingError, match="holds crops for xtrans, not bayer"):
        load_crops(out)


def test_photographs_are_sampled_by_the_pattern_of_the_sensor(tmp_path):
    write_photo(tmp_path / "a.png", colour=(255, 0, 120))
    pack_crops(
        tmp_path, tmp_path / "c", megabytes=1, scenes=0, side=SIDE, cfa="xtrans", report=print
    )
    for crop in decode(load_crops(tmp_path / "c", "xtrans")).max((2, 3)):
        means = [crop[np.array(XTRANS.colours) == colour] for colour in range(3)]
        for planes in means:
            np.testing.assert_allclose(planes, planes[0], atol=0.02)
        assert means[0][0] > means[2][0] > means[1][0]


def test_raws_of_the_kind_are_cut_at_even_cells_and_others_are_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    light = 0.1 + np.arange(180 * 240).reshape(180, 240) / 60_000
    make_raw(tmp_path / "in" / "a.raf", phase=(1, 2), light=light, gain=0, read_noise=0)
    make_raw(tmp_path / "in" / "b.nef", shape=(180, 240))
    told = []
    how = {"megabytes": 0.5, "scenes": 0, "side": SIDE, "report": told.append}
    pack_crops(tmp_path / "in", tmp_path / "c", cfa="xtrans", **how)
    assert len(told) == 1 and "b.nef" in told[0] and "bayer" in told[0]
    whole = encode(read_raw(tmp_path / "in" / "a.raf").planes())
    found = []
    for crop in load_crops(tmp_path / "c", "xtrans"):
        side = crop.shape[-1]
        found += [
            (row + col) % 2
            for row, col in np.ndindex(whole.shape[1] - side + 1, whole.shape[2] - side + 1)
            if np.array_equal(whole[:, row : row + side, col : col + side], crop)
        ]
    # The other half are made-up scenes, in place of the raw that was left out.
    assert len(found) >= 10 and not any(found)


def test_monochrome_raws_are_left_out_and_what_may_be_wrong_with_others_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    light = np.full((180, 240), 0.3)
    light[:, ::7] = 0.5
    make_raw(tmp_path / "in" / "a.dng", phase=MONO, light=light)
    light[170:] = 0
    make_raw(tmp_path / "in" / "b.dng", light=light, gain=0, read_noise=0)
    told = []
    pack_crops(
        tmp_path / "in", tmp_path / "c", megabytes=0.1, scenes=0, side=SIDE, report=told.append
    )
    assert len(told) == 2
    assert "a.dng: skipped: its sensor is monochrome" in told[0] and "b.dng: seems to" in told[1]


def test_a_crop_s_noise_is_that_of_the_square_root():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.1, 0.6, 280, dtype=np.float32)
    scene = pack_rgb(np.stack([ramp[:, None] * ramp] * 3, -1) + np.float32(0.1))
    crops = []
    for deviation in (0.0, 0.004, 0.012):
        noisy = (np.sqrt(scene) + deviation * rng.standard_normal(scene.shape)) ** 2
        crops.append(encode(noisy.astype(np.float32)))
    none, little, much = crop_noise(np.stack(crops))
    assert none < 0.001
    assert 0.0025 < little < 0.006 and 0.008 < much < 0.015


def test_a_black_crop_has_no_noise():
    assert crop_noise(np.zeros((1, 4, 64, 64), np.uint16))[0] == 0
