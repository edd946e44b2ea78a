"""Data sets found by their layout: names, ratios, cameras, and what is missing."""

import inspect
from fractions import Fraction

import imageio.v3 as iio
import numpy as np
import pytest

from ledcli.cli.evaluate import evaluate
from ledcli.errors import PairError, RawError, UsageError
from ledcli.evaluation.datasets import DATASETS, read_dataset
from ledcli.evaluation.datasets.base import DatasetOptions, listed, named_ratio, unique_names
from ledcli.evaluation.datasets.folders import eld, sid
from ledcli.evaluation.datasets.photographs import photographs
from ledcli.sensor.cfa import Phase
from tests.shoot import make_raw, scene

SHAPE = (64, 80)
LIGHT = scene(SHAPE)


def short(path, ratio=100, iso=800, **how):
    """Write a frame that is too dark by the ratio next to `long` (ISO 100, 10 s)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = Fraction(1000) / Fraction(ratio) / iso
    make_raw(path, light=LIGHT / ratio, iso=iso, exposure_time=time, gain=0, read_noise=0, **how)


def long(path, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"gain": 0, "read_noise": 0, "light": LIGHT} | how
    make_raw(path, iso=100, exposure_time=10, **how)


@pytest.fixture
def sony(tmp_path):
    root = tmp_path / "SID" / "Sony"
    long(root / "long" / "10003_00_10s.ARW")
    short(root / "short" / "10003_00_0.1s.ARW")
    short(root / "short" / "10003_00_0.033s.ARW", 300)
    short(root / "short" / "10003_01_0.1s.ARW")
    short(root / "short" / "00001_00_0.1s.ARW")
    return root


def found(source):
    return [(case.name, case.ratio) for case in source.cases]


def test_the_ratio_of_sid_s_names(tmp_path):
    def ratio(short, long):
        return named_ratio(tmp_path / short, tmp_path / long)

    assert ratio("10003_00_0.04s.ARW", "10003_00_10s.ARW") == 250
    assert ratio("10003_00_0.033s.ARW.npz", "10003_00_10s.ARW.npz") == 300
    assert ratio("00002_03_32.0s.ARW", "00002_01_320.0s.ARW") == 10
    assert ratio("IMG_1.ARW", "10003_00_10s.ARW") is None
    assert ratio("10003_00_10s.ARW", "10003_00_0.1s.ARW") is None


@pytest.mark.parametrize("up", [0, 1])
def test_sid_s_test_scenes_without_a_list(sony, up):
    source = sid([sony, sony.parent][up])
    assert found(source) == [("10003_00_0.033s", 300), ("10003_00_0.1s", 100)]
    case = source.cases[1]
    assert (case.camera, case.iso) == ("Led Testcam One", 800)
    frame = case.read()
    assert frame.short.shape == frame.truth.shape == (4, 32, 40)
    assert np.abs(frame.short * 100 - frame.truth).max() < 0.02  # rounding to DN
    assert frame.phase == Phase.RGGB
    assert frame.white_balance == pytest.approx([2, 1, 1.6], rel=1e-3)


def test_sid_s_list_names_the_frames_with_the_camera_s_folder(sony):
    line = "./Sony/short/{} ./Sony/long/10003_00_10s.ARW ISO200 F9\n"
    lines = [line.format(name) for name in ("10003_01_0.1s.ARW", "10003_09_0.1s.ARW")]
    (sony.parent / "Sony_test_list.txt").write_text("".join(lines))
    source = sid(sony)
    assert found(source) == [("10003_01_0.1s", 100)]
    assert "Sony_test_list.txt" in source.name
    (skipped,) = source.skipped
    assert "line 2" in skipped and "10003_09_0.1s.ARW" in skipped


def test_sid_packed_by_led_is_found_under_the_raw_s_name(sony, tmp_path):
    packed = tmp_path / "packed" / "SonyA7S2"
    for name, value in (("short/10003_00_0.1s", 600), ("long/10003_00_10s", 8512)):
        (packed / name).parent.mkdir(parents=True)
        np.savez(
            packed / f"{name}.ARW",
            im=np.full((4, 20, 24), value, np.uint16),
            black_level=np.full((4, 1, 1), 512),
            white_level=np.full((4, 1, 1), 16512),
            wb=np.array([2.0, 1.0, 1.5]),
        )
    line = "./short/10003_00_0.1s.ARW ./long/10003_00_10s.ARW ISO1600 ISO100\n"
    (tmp_path / "valid_100.txt").write_text(line)
    (case,) = sid(packed, DatasetOptions(list_file=tmp_path / "valid_100.txt")).cases
    assert case[:4] == ("10003_00_0.1s", "SonyA7S2", 1600, 100)
    frame = case.read()
    assert (frame.short == np.float32(0.0055)).all() and (frame.truth == 0.5).all()
    assert frame.white_balance.tolist() == [2, 1, 1.5]


def test_a_wrong_list_of_sid_is_refused(sony):
    (sony / "Sony_test_list.txt").write_text("short/10003_00_0.1s.ARW\n")
    with pytest.raises(PairError, match="line 1"):
        sid(sony)


def test_only_the_ratios_that_are_asked_for(sony):
    assert found(sid(sony, DatasetOptions([300]))) == [("10003_00_0.033s", 300)]


def test_what_is_not_sid_is_refused(tmp_path):
    with pytest.raises(UsageError, match="short"):
        sid(tmp_path)
    with pytest.raises(UsageError, match="no such"):
        sid(tmp_path / "nowhere")


def test_eld_s_frames_belong_to_the_nearest_long_one(tmp_path):
    root = tmp_path / "ELD"
    for place in ("SonyA7S2/scene-1", "SonyA7S2/scene-10", "NikonD850/scene-2"):
        for number in (1, 6, 11):
            long(root / place / f"IMG_{number:04}.ARW")
        short(root / place / "IMG_0003.ARW", 10)
        short(root / place / "IMG_0004.ARW", 100, 1600)
        short(root / place / "IMG_0015.ARW", 200, 3200)
    source = eld(root)
    names = [name for name, _ in found(source)]
    assert names[0] == "NikonD850/scene-2/IMG_0003"
    assert names[-1] == "SonyA7S2/scene-10/IMG_0004"
    assert [ratio for _, ratio in found(source)] == [10, 100] * 3
    assert len(source.skipped) == 3 and all("image 16" in line for line in source.skipped)
    assert len(eld(root / "SonyA7S2", DatasetOptions([100])).cases) == 2
    with pytest.raises(UsageError, match="ELD"):
        eld(root / "SonyA7S2" / "scene-1")


def test_eld_s_third_image_belongs_to_the_first_and_its_fourth_to_the_sixth(tmp_path):
    folder = tmp_path / "SonyA7S2" / "scene-1"
    long(folder / "IMG_0001.ARW", light=LIGHT / 2)
    long(folder / "IMG_0006.ARW")
    short(folder / "IMG_0003.ARW", 10)
    short(folder / "IMG_0004.ARW", 100)
    third, fourth = eld(tmp_path).cases
    assert third.read().truth.mean() == pytest.approx(LIGHT.mean() / 2, rel=1e-3)
    assert fourth.read().truth.mean() == pytest.approx(LIGHT.mean(), rel=1e-3)


def test_a_list_takes_its_own_ratio_or_that_of_the_tags(tmp_path):
    long(tmp_path / "l.ARW")
    short(tmp_path / "a_1s.ARW", 20)
    short(tmp_path / "b.ARW", 20)
    (tmp_path / "pairs.txt").write_text("a_1s.ARW l.ARW\nb.ARW l.ARW 25\n")
    assert found(listed(tmp_path / "pairs.txt")) == [("a_1s", 20), ("b", 25)]


def test_frames_of_one_name_get_longer_names(tmp_path):
    lines = ""
    for folder in ("one", "two"):
        long(tmp_path / folder / "l.ARW")
        short(tmp_path / folder / "s.ARW")
        lines += f"{folder}/s.ARW {folder}/l.ARW\n"
    (tmp_path / "pairs.txt").write_text(lines)
    names = [name for name, _ in found(listed(tmp_path / "pairs.txt"))]
    assert names == ["one/s one/l", "two/s two/l"]


def test_names_are_unique_even_if_the_longer_ones_are_equal():
    assert unique_names(["s", "s", "t"], ["x/s", "x/s", "x/t"]) == ["x/s", "x/s (2)", "t"]
    assert unique_names(["b.png", "b", "b"], ["b.png.png", "b.png", "b.jpg"]) == [
        "b.png",
        "b.png (2)",
        "b.jpg",
    ]


def test_a_pair_without_its_tags_is_skipped_and_named(tmp_path):
    long(tmp_path / "l.ARW")
    make_raw(tmp_path / "s.ARW", shape=SHAPE, iso=None)
    (tmp_path / "pairs.txt").write_text("s.ARW l.ARW\n")
    source = listed(tmp_path / "pairs.txt")
    assert source.cases == []
    (line,) = source.skipped
    assert "s.ARW" in line and "ISO" in line


def test_frames_of_two_sizes_are_not_a_pair(tmp_path):
    long(tmp_path / "l.ARW", light=None, shape=(64, 96))
    short(tmp_path / "s.ARW")
    (tmp_path / "pairs.txt").write_text("s.ARW l.ARW\n")
    (case,) = listed(tmp_path / "pairs.txt").cases
    with pytest.raises(PairError, match="size"):
        case.read()


def test_photographs_with_calibrated_noise(tmp_path):
    rng = np.random.default_rng(0)
    iio.imwrite(tmp_path / "a.png", rng.integers(40, 200, (70, 100, 3)).astype(np.uint8))
    source = photographs(tmp_path, DatasetOptions([20], cameras=["nikond850"]))
    assert [case.camera for case in source.cases] == ["NikonD850 K=2.5", "NikonD850 K=10"]
    quiet, loud = (case.read() for case in source.cases)
    assert quiet.truth.shape == (4, 32, 48)
    assert (quiet.truth == loud.truth).all()
    assert np.std(loud.short - loud.truth / 20) > 2 * np.std(quiet.short - quiet.truth / 20)
    assert (source.cases[0].read().short == quiet.short).all()  # the same noise every time
    # All four cameras, two gains, four ratios.
    assert len(photographs(tmp_path).cases) == 32
    assert len({case.name for case in photographs(tmp_path).cases}) == 32


def test_wrong_folders_and_cameras_are_named(tmp_path):
    with pytest.raises(UsageError, match="no photograph"):
        photographs(tmp_path)
    with pytest.raises(UsageError, match="SonyA7S2"):
        photographs(tmp_path, DatasetOptions(cameras=["Leica"]))
    with pytest.raises(UsageError, match="no such folder"):
        photographs(tmp_path / "nowhere")


def test_a_bad_photograph_is_one_line_and_a_value_given_twice_counts_once(tmp_path):
    picture = np.full((40, 40, 3), 90, np.uint8)
    iio.imwrite(tmp_path / "a.png", picture)
    iio.imwrite(tmp_path / "._a.png", picture)
    iio.imwrite(tmp_path / "small.png", picture[:20])
    iio.imwrite(tmp_path / "deep.tif", np.full((40, 40), 9000, np.uint16))
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    source = photographs(
        tmp_path, DatasetOptions([1, 20, 1], None, ["SonyA7S2", "sonya7s2"], [3, 3.0])
    )
    assert found(source) == [("a SonyA7S2 K=3 x1", 1), ("a SonyA7S2 K=3 x20", 20)]
    assert [line.split(": ")[1] for line in source.skipped] == [
        "is grey of more than 8 bits",
        "is not a readable photograph",
        "is smaller than 32 pixels",
    ]


def test_a_truncated_photograph_is_refused_when_it_is_read(tmp_path):
    rng = np.random.default_rng(0)
    iio.imwrite(tmp_path / "a.png", rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    (case,) = photographs(tmp_path, DatasetOptions([1], None, ["SonyA7S2"], [3])).cases
    with pytest.raises(RawError, match=r"a\.png: cannot be read as a photograph"):
        case.read()


def test_every_data_set_and_option_is_an_option_of_led_evaluate():
    parameters = inspect.signature(evaluate).parameters
    assert set(DATASETS) <= set(parameters)
    assert {option for dataset in DATASETS.values() for option in dataset.options} <= set(
        parameters
    )


def test_exactly_one_data_set_is_read_and_only_with_its_own_options(tmp_path):
    with pytest.raises(UsageError, match="one of --sid, --eld, --pairs and --photos"):
        read_dataset({"sid": None}, DatasetOptions())
    with pytest.raises(UsageError, match="--sid and --eld exclude each other"):
        read_dataset({"sid": tmp_path, "eld": tmp_path}, DatasetOptions())
    with pytest.raises(UsageError, match="--list is for --sid only"):
        read_dataset({"eld": tmp_path}, DatasetOptions(list_file=tmp_path / "list.txt"))
