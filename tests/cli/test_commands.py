"""info, demo, doctor, pretrain: each as a user runs it, on small things."""

import json
import sys
from fractions import Fraction

import pytest
import tifffile

from ledcli.cli.app import run
from tests.pairs.scenes import picture, shot, through
from tests.shoot import make_dark, make_raw, scene


def json_lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_info_of_an_x_trans_says_so_and_has_a_black_for_each_colour(tmp_path, capsys):
    shape = (512, 512)
    make_raw(
        tmp_path / "a.RAF", light=scene(shape), phase=(3, 4), black=(500, 510, 520), gain=4.0,
        read_noise=6.0, active_area=(1, 2, 511, 510),
    )  # fmt: skip
    assert run(["info", str(tmp_path / "a.RAF"), "--json"]) == 0
    (record,) = json_lines(capsys)
    assert (record["width"], record["height"]) == (508, 510)
    assert record["phase"].startswith("X-Trans") and len(record["black"]) == 9
    assert record["gain"] == pytest.approx(4.0, rel=0.2)
    assert run(["info", str(tmp_path / "a.RAF")]) == 0
    said = capsys.readouterr().out
    assert "black 500/510/520, white 16383 DN" in said and "508 x 510, X-Trans" in said


def test_pretrain_makes_a_model_for_x_trans(tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    small = ["--cfa", "xtrans", "--arch", "unet", "--channels", "4", "--crops-size", "3"]
    assert run(["pretrain", *small, "--virtual", "1", "--iters", "2", "--out", str(out)]) == 0
    make_raw(tmp_path / "a.RAF", phase=(2, 2))
    given = ["denoise", str(tmp_path / "a.RAF"), "--ratio", "3", "--model", str(out)]
    capsys.readouterr()
    assert run([*given, "--json"]) == 0
    assert json_lines(capsys)[0]["status"] == "done"
    other = [
        "--crops",
        str(out.with_suffix(".crops.npy")),
        "--out",
        str(tmp_path / "b.safetensors"),
    ]
    assert run(["pretrain", "--iters", "2", *other]) == 1
    assert "holds crops for xtrans, not bayer" in capsys.readouterr().err


def test_info_tells_what_the_camera_wrote_and_the_noise(tmp_path, capsys):
    shape = (512, 512)
    light = scene(shape)
    make_raw(
        tmp_path / "a.ARW", shape=shape, light=light, iso=1600, exposure_time=1 / 50,
        phase="GBRG", gain=4.0, read_noise=6.0,
    )  # fmt: skip
    assert run(["info", str(tmp_path / "a.ARW"), "--json"]) == 0
    (record,) = json_lines(capsys)
    assert (record["width"], record["height"], record["phase"]) == (512, 512, "GBRG")
    assert record["exposure_level"] == pytest.approx(32, rel=1e-3)
    assert record["gain"] == pytest.approx(4.0, rel=0.2)
    assert run(["info", str(tmp_path / "a.ARW")]) == 0
    assert "1/50 s" in capsys.readouterr().out


def test_info_says_what_is_not_in_the_file(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW", iso=None, neutral=None)
    assert run(["info", str(tmp_path / "a.ARW")]) == 0
    said = capsys.readouterr().out
    assert "not in the file" in said
    assert "white balance   no white balance in the file: daylight used" in said


def test_info_says_what_cannot_be_told_of_the_noise_and_what_the_file_states(tmp_path, capsys):
    profile = (51041, 12, 2, (4 / 15871, (8 / 15871) ** 2))
    make_dark(tmp_path / "a.dng", shape=(256, 256), read_noise=0.25, more_tags=[profile])
    assert run(["info", str(tmp_path / "a.dng")]) == 0
    text = capsys.readouterr().out
    assert text.count("cannot be told from this photo") == 2
    assert "gain 4 DN per electron, read noise 8 DN" in text
    assert run(["info", str(tmp_path / "a.dng"), "--json"]) == 0
    (record,) = json_lines(capsys)
    assert record["gain"] is None and record["read_noise"] is None


def test_info_goes_on_after_a_bad_file(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")
    (tmp_path / "b.ARW").write_text("no raw")
    assert run(["info", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    good, bad = map(json.loads, out.splitlines())
    assert good["camera"]
    assert bad["status"] == "failed"
    assert len(err.splitlines()) == 1


def test_info_goes_on_after_an_input_that_cannot_be_read(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")
    gone = str(tmp_path / "b.ARW")
    assert run(["info", gone, str(tmp_path / "a.ARW"), "--json"]) == 1
    out, err = capsys.readouterr()
    bad, good = map(json.loads, out.splitlines())
    assert bad["status"] == "failed" and bad["error"].startswith(f"{gone}: no such file")
    assert good["camera"] and len(err.splitlines()) == 1


def test_a_frame_that_looks_damaged_is_read_when_forced(tmp_path, capsys):
    """Its last rows are below black; by every command that reads a photographer's shots."""
    shots, listed = tmp_path / "shots", tmp_path / "pairs.txt"
    shots.mkdir()
    light, long = through(picture(1)), shots / "long.dng"
    shot(long, light, 100, Fraction(10))
    for iso in (100, 3200):
        shot(shots / f"{iso}.dng", light, iso, Fraction(10, iso))
    damaged = shots / "3200.dng"
    tifffile.memmap(damaged)[-4:] = 0
    listed.write_text(f"{damaged} {long}\n")
    for command in (
        ["info", shots],
        ["pairs", "scan", shots, "--dry-run"],
        ["pairs", "check", listed],
        ["finetune", listed, "--dry-run", "--force"],
        ["denoise", damaged, "--strength", "0", "--out", tmp_path / "out"],
    ):
        for force in ([], ["--force-read"]):
            failed = run([*map(str, command), *force])
            said = " ".join(capsys.readouterr().err.split())
            assert f"{damaged}: seems to lack its last 4 of 256 rows" in said, command
            assert ("nothing is missing" in said) == (not failed) == bool(force), command


def test_demo_runs_every_step_and_tuning_gains(tmp_path, capsys, led_home):
    out = tmp_path / "d"
    small = ["--count", "1", "--iters", "8", "--crops", "4"]
    assert run(["demo", str(out), *small, "--json", "--quiet"]) == 0
    records = json_lines(capsys)
    *photos, mean = [r for r in records if "psnr_noisy" in r]
    assert len(photos) == 1
    assert mean["psnr_noisy"] + 6 < mean["psnr_untuned"] < mean["psnr_tuned"]
    untuned, tuned = [r for r in records if "sha256" in r]
    assert untuned["model"] == "generic" and untuned["noise"] == "blind"
    assert tuned["model"] == "led-democam" and tuned["noise"] == "profile"
    assert records[-1] == {"picture": str(out / "before_after.png")}
    assert (out / "before_after.png").stat().st_size > 10_000
    assert len(list((out / "denoised").glob("*.dng"))) == 1
    assert list(led_home.iterdir()) == []  # nothing was installed


def test_demo_leaves_a_folder_alone_that_has_other_files(tmp_path, capsys, monkeypatch):
    def made(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ledcli.evaluation.simulation.make_pairs", made)
    out = tmp_path / "d"
    out.mkdir()
    (out / ".DS_Store").touch()  # macOS puts it into every folder that it shows
    for _ in range(2):  # in a folder of its own it runs again
        assert run(["demo", str(out), "--quiet"]) == 130
    (tmp_path / "mine" / "raw").mkdir(parents=True)
    (tmp_path / "mine" / "raw" / "IMG_9001.dng").write_bytes(b"an original")
    capsys.readouterr()
    assert run(["demo", str(tmp_path / "mine"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "mine: has files that led demo did not make" in error and error.count("\n") == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["raw"]


def test_doctor_finds_that_the_fast_paths_agree(capsys):
    assert run(["doctor", "--json", "--quiet"]) == 0
    facts, *paths = json_lines(capsys)
    assert facts["led"]
    tried = {(p["backend"], p["device"]) for p in paths if p["agrees"]}
    assert all(p["agrees"] for p in paths if not p["error"]) and ("torch", "cpu") in tried
    # What is not there is listed as well: devices that torch does not find, packages to install.
    missing = {(p["backend"], p["device"]): p["error"] for p in paths if p["agrees"] is None}
    assert {"cuda", "xpu", "mps", "cpu"} == {
        device for backend, device in tried | set(missing) if backend == "torch"
    }
    for backend, fact in (("onnx", "onnxruntime"), ("openvino", "OpenVINO")):
        assert ("pip install" in facts[fact]) != ((backend, "cpu") in tried)
        assert ("pip install" in facts[fact]) == ("pip install" in missing.get((backend, ""), ""))


def test_doctor_names_what_is_wrong_and_what_is_not_installed(capsys, monkeypatch):
    from ledcli.inference.backends.torch import BACKEND

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    prepare = BACKEND.prepare

    def wrong(spec, net, target):
        made.append(prepare(spec, net, target))
        if len(made) > 1:  # the first is the reference
            made[-1].tail.register_forward_hook(lambda *given: given[-1] + 0.3)
        return made[-1]

    made = []
    monkeypatch.setattr(BACKEND, "prepare", wrong)
    assert run(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert "pip install 'ledcli[onnx]'" in out and "pip install 'ledcli[openvino]'" in out
    assert "torch on cpu in float32 computes wrong pictures" in err


def test_pretrain_makes_a_model_that_denoises_and_goes_on_after_a_stop(tmp_path, capsys):
    model, raw = tmp_path / "mine.safetensors", tmp_path / "a.dng"
    small = ["--channels", "4", "--crops-size", "6", "--virtual", "2", "--out", str(model)]
    assert run(["pretrain", *small, "--iters", "3"]) == 0
    assert model.is_file()
    capsys.readouterr()
    assert run(["pretrain", *small, "--iters", "5", "--resume", "--json", "--quiet"]) == 0
    *lines, last = json_lines(capsys)
    assert lines[-1]["step"] == 5
    assert last == {"model": str(model)}
    make_raw(raw)
    assert run(["denoise", str(raw), "--model", str(model), "--quiet"]) == 0
    assert run(["models", "info", str(model), "--json"]) == 0


def test_pretrain_resumes_by_the_same_command(tmp_path, monkeypatch):
    asked = []

    def train(recipe, crops, *given, resume, **how):
        asked.append((crops, resume))

    monkeypatch.setattr("ledcli.training.pretrain.pretrain", train)
    crops, command = tmp_path / "m.crops.npy", ["pretrain", "--photos", str(tmp_path)]
    command += ["--out", str(tmp_path / "m.safetensors"), "--quiet"]
    crops.touch()
    assert run(command) == 2
    (tmp_path / "m.checkpoint").touch()
    assert run([*command, "--resume"]) == 0
    assert asked == [(crops, True)]


def test_pretrain_packs_no_photos_into_a_crop_file_that_is_there(tmp_path, capsys):
    crops = tmp_path / "shared.npy"
    crops.touch()
    command = ["pretrain", "--photos", str(tmp_path), "--crops", str(crops)]
    assert run([*command, "--out", str(tmp_path / "m.safetensors")]) == 2
    assert "shared.npy already exists: use it" in capsys.readouterr().err


def test_pretrain_says_that_a_resumed_training_does_not_start_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ledcli.training.pretrain.pretrain", lambda *given, **how: None)
    command = ["pretrain", "--out", str(tmp_path / "m.safetensors"), "--start", "none.safetensors"]
    assert run(command) == 1
    assert "none.safetensors: " in capsys.readouterr().err
    (tmp_path / "m.crops.npy").touch()
    (tmp_path / "m.checkpoint").touch()
    assert run([*command, "--resume"]) == 0
    assert "the checkpoint's weights, not none.safetensors" in capsys.readouterr().err


def test_pretrain_looks_for_its_files_before_it_packs_crops(tmp_path, capsys):
    model, crops = tmp_path / "m.safetensors", tmp_path / "m.crops.npy"
    command = ["pretrain", "--out", str(model), "--crops-size", "2", "--quiet"]
    assert run([*command, "--resume"]) == 1
    assert "m.checkpoint: no checkpoint to resume" in capsys.readouterr().err
    model.touch()
    assert run(command) == 1
    assert "m.safetensors: already exists" in capsys.readouterr().err
    assert not crops.exists()


def test_pretrain_refuses_what_cannot_work_before_it_starts(tmp_path, capsys):
    out = ["--out", str(tmp_path / "m.safetensors"), "--crops-size", "2"]
    assert run(["pretrain", *out, "--ratios", "100", "1"]) == 2
    assert run(["pretrain", *out, "--form", "log"]) != 0
    assert run(["pretrain", *out, "--resume"]) == 1
    assert "--resume" in capsys.readouterr().err
    for wrong in ("m.pth", "m.checkpoint", "m.crops.npy"):
        assert run(["pretrain", "--out", str(tmp_path / wrong), "--crops-size", "2"]) == 2
        assert f"{wrong}: a model file ends in .safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        ("--minutes", "0"),
        ("--learning-rate", "0"),
        ("--crops-size", "1e9"),
        ("--seed", "9" * 20),
        ("--virtual", "9" * 20),
    ],
)
def test_pretrain_refuses_a_number_out_of_range_before_it_packs(given, tmp_path, capsys):
    assert run(["pretrain", "--out", str(tmp_path / "m.safetensors"), *given]) == 2
    assert given[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


TOO_LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        ["denoise", "a.dng", "--out", TOO_LONG],
        ["denoise", "a.dng", "--out", f"{TOO_LONG}/b"],
        ["denoise", "a.dng", "--exposure", f"{TOO_LONG}.ARW"],
        ["denoise", "a.dng", "--model", "~nouser/a.safetensors"],
        ["denoise", "a.dng", "--dark", TOO_LONG],
        ["denoise", TOO_LONG, "--watch"],
        ["info", TOO_LONG],
        ["preview", "a.dng", "--out", f"{TOO_LONG}.html"],
        ["pairs", "scan", TOO_LONG],
        ["pairs", "scan", ".", "--out", f"{TOO_LONG}.txt"],
        ["pairs", "check", TOO_LONG],
        ["models", "import", f"{TOO_LONG}.pth"],
        ["models", "export", "generic", "--out", f"{TOO_LONG}.onnx"],
        ["models", "pull", "--registry", TOO_LONG],
        ["reparam", TOO_LONG, "--out", "a.safetensors"],
        ["integrate", "darktable", "--config", "~nouser/darktable"],
        ["integrate", "darktable", "--config", TOO_LONG],
        ["evaluate", "--pairs", TOO_LONG],
        ["evaluate", "--photos", TOO_LONG],
        ["evaluate", "--sid", TOO_LONG],
        ["evaluate", "--eld", TOO_LONG],
        ["evaluate", "--photos", ".", "--report", TOO_LONG],
        ["evaluate", "--photos", ".", "--csv", TOO_LONG],
        ["finetune", TOO_LONG],
        ["finetune", "pairs.txt", "--out", f"{TOO_LONG}.safetensors"],
        ["pretrain", "--out", f"{TOO_LONG}.safetensors"],
        ["pretrain", "--crops", TOO_LONG, "--crops-size", "1"],
        ["pretrain", "--photos", TOO_LONG],
        ["demo", TOO_LONG],
    ],
)
def test_a_path_that_the_system_refuses_is_a_line_that_names_it(
    tmp_path, monkeypatch, capsys, command
):
    """Too long stands for every refusal but "no such file", such as of a folder without access."""
    monkeypatch.chdir(tmp_path)
    make_raw(tmp_path / "a.dng")
    assert run([*command, "--quiet"]) in (1, 2)
    error = capsys.readouterr().err
    assert "unexpected" not in error and error.startswith("led: ") and error.count("\n") == 1


def test_a_home_of_a_user_that_does_not_exist_is_a_folder_s_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LED_HOME", "~nouser/x")
    for command in (["models", "list"], ["models", "pull"], ["config", "path"]):
        assert run([*command, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
