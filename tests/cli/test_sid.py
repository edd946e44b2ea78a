"""SID as a user runs it: tuned with pairs, it makes pictures of raws and says so."""

import json

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from ledcli.batch.settings import Settings
from ledcli.cli.app import run
from ledcli.errors import OutputError
from ledcli.metadata.xmp import read_note
from ledcli.output.dng import SOFTWARE
from ledcli.output.formats import FORMATS
from ledcli.output.render import DenoisedPhoto
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import read_spec
from ledcli.zoo.selection import best_model
from tests.inference.models import noise_profile, write_pictures
from tests.shoot import make_raw
from tests.training.shoots import shoot_pair

pytestmark = pytest.mark.usefixtures("home")
SHAPE = (131, 164)


@pytest.fixture
def model(tmp_path):
    return write_pictures(tmp_path / "developer.safetensors")


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "IMG_1.NEF"
    make_raw(path, shape=SHAPE, iso=1600, light=np.full(SHAPE, 0.01))
    return path


def denoise(*arguments):
    return run(["denoise", *map(str, arguments)])


def decoded(path):
    return imagecodecs.png_decode(path.read_bytes())


def test_the_tuned_model_has_a_name_of_its_own_and_makes_pictures(
    listed, tiny, home, tmp_path, capsys
):  # fmt: skip
    tune = ["finetune", "--pretrained", str(tiny), "--method", "sid", "--iters", "3"]
    assert run([*tune, "--crops", "2", "--force"]) == 0
    out, err = capsys.readouterr()
    assert "conv1_1, conv10_1 are initialised" in err
    assert "over LibRaw's picture of the noisy frame" in out
    assert "led denoise --model led-testcam-one-sid" in err
    spec = read_spec(home / "led-testcam-one-sid.safetensors")
    assert (spec.method, spec.output, spec.input_form) == ("sid", "srgb", "gain")
    assert spec.training["iterations"] == 3 and "LibRaw" in spec.training["pictures"]
    # Nobody who wants a DNG gets it.
    assert best_model(Exif("Led", "Led Testcam One", 1600), 20).name != "led-testcam-one-sid"
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    chosen = ["photo.ARW", "--ratio", "20", "--model", "led-testcam-one-sid"]
    assert denoise(*chosen) == 0
    out, err = capsys.readouterr()
    assert "writing PNG" in err and "straight to sRGB" in err
    assert decoded(tmp_path / "denoised" / "photo.png").shape == (*SHAPE, 3)


@pytest.mark.parametrize("orientation", [1, 6, 8, 3])
def test_pictures_are_upright_in_sixteen_bits_and_say_what_they_are(
    tmp_path, model, orientation
):  # fmt: skip
    path = tmp_path / "a.ARW"
    make_raw(path, shape=SHAPE, orientation=orientation, iso=1600)
    assert denoise(path, "--model", model, "--ratio", 20, "--format", "png,tiff") == 0
    done = tmp_path / "denoised"
    png, tiff = decoded(done / "a.png"), tifffile.imread(done / "a.tif")
    np.testing.assert_array_equal(png, tiff)
    assert png.shape[:2] == (SHAPE if orientation in (1, 3) else SHAPE[::-1])
    assert png.dtype == np.uint16
    data = (done / "a.png").read_bytes()
    assert b"iCCP" in data and b"eXIf" in data and SOFTWARE.encode() in data
    note = read_note(done / "a.tif")
    assert note["model"] == "developer.safetensors" and note["noise"] == "unused"
    assert not list(done.glob("*.dng"))


@pytest.mark.parametrize("phase", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_what_the_network_sees_does_not_depend_on_the_phase(tmp_path, model, phase, capsys):
    whole = make_raw(tmp_path / "whole.ARW", shape=(132, 166), iso=1600)
    top, left = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[phase]
    mosaic = whole[top : top + 130, left : left + 164]
    make_raw(tmp_path / "part.ARW", mosaic=mosaic, phase=phase, iso=1600)
    assert read_raw(tmp_path / "part.ARW").phase == phase
    how = ["--model", model, "--ratio", 20, "--precision", "float32"]
    assert denoise(tmp_path / "whole.ARW", tmp_path / "part.ARW", *how) == 0
    full, part = (decoded(tmp_path / "denoised" / f"{n}.png") for n in ("whole", "part"))
    inner = np.s_[48:-48, 48:-48]
    there = full[top : top + 130, left : left + 164]
    np.testing.assert_allclose(part[inner].astype(int), there[inner].astype(int), atol=3)


@pytest.mark.parametrize(
    "options,says",
    [
        (["--format", "dng"], "cannot write a DNG"),
        (["--format", "png,dng"], "cannot write a DNG"),
        (["--strength", "0.5"], "--strength"),
        (["--chroma", "0.5"], "--strength"),
        (["--highlights", "keep"], "--highlights keep"),
        (["--linear"], "--linear"),
        (["--steps", "2"], "--steps"),
    ],
)
def test_what_a_picture_cannot_be_is_refused_in_a_line(tmp_path, model, raw, capsys, options, says):
    assert denoise(raw, "--model", model, *options) == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and len(err.splitlines()) == 1
    assert not (tmp_path / "denoised").exists()


def test_found_out_late_a_dng_of_a_picture_is_refused_too(raw):
    picture = DenoisedPhoto(read_raw(raw), developed=np.zeros((*SHAPE, 3), np.uint16))
    with pytest.raises(OutputError, match="--format png"):
        FORMATS["dng"].encode(picture, **FORMATS["dng"].options(Settings()))


def test_a_second_run_finds_the_picture_done(tmp_path, model, raw, capsys):
    for status in ("done", "skipped"):
        assert denoise(raw, "--model", model, "--ratio", 20, "--json", "-q") == 0
        assert json.loads(capsys.readouterr().out)["status"] == status


def test_its_camera_gets_another_model_when_none_is_named(raw, home, capsys):
    camera = {"cameras": ("Led Testcam One",), "noise_profile": noise_profile()}
    write_pictures(home / "mine.safetensors", **camera)
    assert denoise(raw, "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["model"] != "mine"
    assert Exif(make="Led", model="Testcam One").camera == camera["cameras"][0]


def test_info_and_list_say_what_it_is(model, home, capsys):
    assert run(["models", "info", str(model)]) == 0
    assert "pictures" in capsys.readouterr().out
    write_pictures(home / "mine.safetensors")
    assert run(["models", "list"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mine")]
    assert "sRGB" in row


def test_evaluate_measures_it_by_pictures(tmp_path, model, capsys):
    shoot_pair(tmp_path, "a", 1600, 20, 1, shape=SHAPE)
    (tmp_path / "list.txt").write_text("a_short.ARW a_long.ARW\n")
    assert run(["evaluate", str(model), "--pairs", "list.txt", "--report", "page"]) == 0
    out, err = capsys.readouterr()
    assert "straight from the raw" in err
    (row,) = [line for line in out.splitlines() if line.startswith("developer")]
    assert len(row.split()) == 9
    assert "rendered" in (tmp_path / "page" / "index.html").read_text()
    assert run(["evaluate", str(model), "--pairs", "list.txt", "--json", "-q"]) == 0
    frame = json.loads(capsys.readouterr().out.splitlines()[0])
    assert set(frame["metrics"]["developer"]) == {"psnr_srgb", "ssim_srgb"}


def test_evaluate_refuses_what_has_no_raws(tmp_path, model, capsys):
    iio.imwrite(tmp_path / "photo.png", np.full((96, 96, 3), 90, np.uint8))
    photos = ["--photos", str(tmp_path), "--cameras", "SonyA7S2", "--ratios", "100"]
    assert run(["evaluate", str(model), *photos]) == 2
    err = capsys.readouterr().err
    assert "has none" in err and len(err.splitlines()) == 1


def test_an_x_trans_camera_gets_its_own(tmp_path, home, capsys):
    """From nothing, with 27 planes; its pictures are of the raw's size, wherever it begins."""
    names = []
    for seed, iso in enumerate((400, 6400)):
        names += [shoot_pair(tmp_path, f"x{iso}", iso, 20, seed, phase=(1, 2))]
    lines = [f"{short.name} {long.name}\n" for short, long in names]
    (tmp_path / "pairs.txt").write_text("".join(lines))
    tune = ["finetune", "--pretrained", "none", "--method", "sid", "--iters", "2"]
    assert run([*tune, "--crops", "1", "--force", "--name", "mine"]) == 0
    assert "every weight is initialised" in capsys.readouterr().err
    spec = read_spec(home / "mine.safetensors")
    assert (spec.cfa, spec.planes, spec.arguments["out_planes"]) == ("xtrans", 9, 27)
    make_raw(tmp_path / "photo.RAF", shape=SHAPE, phase=(2, 5), iso=1600)
    assert denoise("photo.RAF", "--ratio", 20, "--model", "mine", "-q") == 0
    assert decoded(tmp_path / "denoised" / "photo.png").shape == (*SHAPE, 3)


def test_exported_it_makes_the_same_picture(tmp_path, model, raw):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert run(["models", "export", str(model), "-o", str(tmp_path / "m.onnx")]) == 0
    shown = []
    for name in ("developer.safetensors", "m.onnx"):
        how = ["--ratio", 20, "--precision", "float32", "--out", tmp_path / name[:2]]
        assert denoise(raw, "--model", tmp_path / name, *how) == 0
        shown.append(decoded(tmp_path / name[:2] / "IMG_1.png").astype(int))
    np.testing.assert_allclose(shown[1], shown[0], atol=7)
