"""`led evaluate` as a user runs it, on a tiny data set with a tiny model."""

import csv
import errno
import json
import os

import imageio.v3 as iio
import numpy as np
import pytest

from ledcli.cli.app import run
from ledcli.evaluation.results import METRICS
from ledcli.evaluation.simulation import make_pairs
from ledcli.output import atomic
from ledcli.pairs.list_file import Pair, list_text
from tests.inference.models import write_model
from tests.shoot import make_raw, scene

LIGHT = scene((64, 80))


@pytest.fixture
def shoot(tmp_path, monkeypatch):
    """Three pairs of two ratios and two ISOs, a list of them, and a model."""
    monkeypatch.chdir(tmp_path)
    make_raw(tmp_path / "long.ARW", light=LIGHT, iso=100, exposure_time=10, gain=0.1)
    for name, ratio, iso in (("a", 100, 800), ("b", 100, 3200), ("c", 20, 800)):
        time = 1000 / ratio / iso
        make_raw(tmp_path / f"{name}.ARW", light=LIGHT / ratio, iso=iso, exposure_time=time)
    (tmp_path / "pairs.txt").write_text("".join(f"{n}.ARW long.ARW\n" for n in "abc"))
    write_model(tmp_path / "m.safetensors")
    return tmp_path


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_has_a_line_per_frame_and_the_means(shoot, capsys):
    assert run(["evaluate", "m.safetensors", "--pairs", "pairs.txt", "--json", "--quiet"]) == 0
    *frames, means = lines(capsys)
    assert [(f["frame"], f["iso"], f["ratio"]) for f in frames] == [
        ("a", 800, 100),
        ("b", 3200, 100),
        ("c", 800, 20),
    ]
    noisy, model = frames[0]["metrics"]
    assert noisy == "noisy"
    assert set(frames[0]["metrics"][model]) == set(METRICS)
    assert means["frames"] == 3 and means["skipped"] == []
    expected = np.mean([f["metrics"]["noisy"]["psnr"] for f in frames])
    assert means["means"]["noisy"]["psnr"] == pytest.approx(expected)
    assert [g["value"] for g in means["groups"]["iso"] if g["model"] == "noisy"] == [800, 3200]


def test_people_get_tables_a_csv_and_a_report(shoot, capsys):
    given = ["evaluate", "m.safetensors", "--pairs", "pairs.txt"]
    assert run([*given, "--csv", "f.csv", "--report", "page"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line][:2] == ["mean", "noisy"]
    assert "\nratio" in out and "\niso" in out and "\ncamera" in out
    rows = list(csv.DictReader((shoot / "f.csv").open()))
    assert len(rows) == 6
    assert [row["frame"] for row in rows] == ["a", "a", "b", "b", "c", "c"]
    assert rows[0]["model"] == "noisy" != rows[1]["model"]
    assert float(rows[0]["psnr"]) > 0 and rows[0]["ratio"] == "100.0"
    assert (shoot / "page" / "index.html").stat().st_size > 1000
    assert run([*given, "--csv", "f.csv"]) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_bad_frame_is_named_and_the_others_are_measured(shoot, capsys):
    (shoot / "b.ARW").write_bytes((shoot / "b.ARW").read_bytes()[:3000])
    (shoot / "c.ARW").unlink()
    assert run(["evaluate", "m.safetensors", "--pairs", "pairs.txt", "--json", "--quiet"]) == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    failed = [record for record in records if record.get("status") == "failed"]
    assert len(failed) == 2 and len(err.splitlines()) == 2
    assert [r["frame"] for r in records if "metrics" in r] == ["a"]
    assert len(records[-1]["skipped"]) == 2


def test_photographs_and_a_calibrated_camera(shoot, capsys):
    (shoot / "clean").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    iio.imwrite(shoot / "clean" / "p.png", picture)
    given = ["--photos", "clean", "--cameras", "SonyA7S2", "--gains", "3", "--ratios", "1,20"]
    assert run(["evaluate", "m.safetensors", *given, "--json", "--quiet"]) == 0
    *frames, means = lines(capsys)
    assert [f["frame"] for f in frames] == ["p SonyA7S2 K=3 x1", "p SonyA7S2 K=3 x20"]
    assert "SonyA7S2" in means["source"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "name what to measure on"),
        (["--pairs", "pairs.txt", "--photos", "."], "exclude each other"),
        (["--pairs", "pairs.txt", "--list", "x"], "--list is for --sid only"),
        (["--pairs", "pairs.txt", "--cameras", "SonyA7S2"], "for --photos only"),
        (["--pairs", "pairs.txt", "--ratios", "0.5"], "numbers from 1"),
        (["--pairs", "pairs.txt", "--ratios", "250"], "no frame of ratio 250"),
        (["--photos", ".", "--gains", "0"], "numbers above 0"),
        (["--sid", "."], "SID's layout"),
        (["--eld", "."], "ELD's layout"),
    ],
)
def test_bad_usage_is_one_line(shoot, capsys, given, why):
    assert run(["evaluate", "m.safetensors", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line


def test_what_could_not_be_written_is_refused_before_the_work(shoot, capsys):
    (shoot / "taken").write_text("")
    given = ["evaluate", "m.safetensors", "--pairs", "pairs.txt"]
    for wrong in (["--report", "taken"], ["--report", "taken/page"], ["--csv", "none/f.csv"]):
        assert run([*given, *wrong]) == 1
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1


def test_a_folder_that_is_read_only_names_the_option(shoot, capsys, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic, "_open_new", refuse)  # as for anyone but root
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert run(["evaluate", "m.safetensors", "--pairs", "pairs.txt", "--csv", "f.csv"]) == 1
    assert "not writable; choose another one with --csv" in capsys.readouterr().err


def test_a_csv_that_fails_at_the_end_does_not_cost_the_report(shoot, capsys, monkeypatch):
    given = ["evaluate", "m.safetensors", "--pairs", "pairs.txt", "--csv", "f" * 300]
    assert run([*given, "--report", "page", "--quiet"]) == 1
    assert "too long" in capsys.readouterr().err and not (shoot / "page").exists()
    monkeypatch.setattr("ledcli.evaluation.results.check_new", lambda *_: None)
    assert run([*given, "--report", "page", "--quiet"]) == 1
    assert "too long" in capsys.readouterr().err
    assert (shoot / "page" / "index.html").is_file()


def test_table_csv_json_and_report_say_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pairs = [Pair(short.path, long.path) for short, long in make_pairs(tmp_path, size=128)]
    path = tmp_path / "pairs.txt"
    path.write_bytes(list_text(path, pairs))
    write_model(tmp_path / "m.safetensors")
    given = ["evaluate", "m.safetensors", "--pairs", "pairs.txt", "--quiet"]
    assert run([*given, "--csv", "f.csv", "--report", "page"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run([*given, "--json"]) == 0
    *frames, means = lines(capsys)
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    rows = list(csv.DictReader((tmp_path / "f.csv").open()))

    assert [f["frame"] for f in frames] == ["IMG_0001", "IMG_0003"]
    assert [(row["frame"], row["model"]) for row in rows] == [
        (f["frame"], model) for f in frames for model in f["metrics"]
    ]
    for row, metrics in zip(rows, (g for f in frames for g in f["metrics"].values()), strict=True):
        assert {name: float(row[name]) for name in METRICS} == pytest.approx(metrics, rel=1e-9)
    for model, metrics in means["means"].items():
        of_model = [row for row in rows if row["model"] == model]
        shown = next(line for line in table if line and line[0] == model)
        for name, cell in zip(METRICS, shown[1:], strict=True):
            mean = np.mean([float(row[name]) for row in of_model])
            assert metrics[name] == pytest.approx(mean, rel=1e-9)
            assert cell == (f"{mean:.2f}" if name.startswith("psnr") else f"{mean:.4f}")
            assert f">{cell}<" in page
    for group in means["groups"]["iso"]:
        row = next(line for line in table if line and line[0] == f"{group['value']:g}")
        psnr, ssim = (group["metrics"][name] for name in ("psnr", "ssim"))
        assert f"{psnr:.2f}/{ssim:.4f}" in row


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A clean photograph, and models for both kinds of sensors."""
    monkeypatch.chdir(tmp_path)
    rgb = np.random.default_rng(0).integers(0, 255, (100, 150, 3)).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    iio.imwrite(tmp_path / "photos" / "a.png", rgb)
    for cfa in ("bayer", "xtrans"):
        write_model(tmp_path / f"{cfa}.safetensors", cfa=cfa)
    return ["--photos", "photos", "--cameras", "SonyA7S2", "--gains", "3", "--ratios", "100"]


def test_a_model_for_x_trans_is_measured_on_frames_of_an_x_trans(photographs, capsys):
    for cfa in ("xtrans", "bayer"):
        given = ["evaluate", f"{cfa}.safetensors", *photographs, "--json"]
        assert run(given) == 0
        frames, means = lines(capsys)
        assert set(frames["metrics"]["noisy"]) == set(METRICS) and means["frames"] == 1
    assert run(["evaluate", "xtrans.safetensors", "bayer.safetensors", *photographs]) == 2
    assert "measure them apart" in capsys.readouterr().err


def test_frames_of_an_x_trans_get_the_model_for_x_trans(shoot, capsys):
    for name, light, time in (("long", LIGHT, 10), ("short", LIGHT / 100, 0.1)):
        make_raw(shoot / f"{name}.RAF", light=light, iso=800, exposure_time=time, phase=(0, 0))
    (shoot / "broken.RAF").write_bytes((shoot / "short.RAF").read_bytes()[:5000])
    (shoot / "x.txt").write_text("broken.RAF long.RAF 100\nshort.RAF long.RAF\n")
    run(["evaluate", "--pairs", "x.txt", "--json"])
    *_, means = lines(capsys)
    assert list(means["means"]) == ["noisy", "led-xtrans/generic"] and means["frames"] == 1
    assert run(["evaluate", "--pairs", "x.txt", "--quality", "fast"]) == 1
    assert "no fast model for X-Trans sensors" in capsys.readouterr().err


def test_pairs_of_another_sensor_than_the_model_s_are_named(shoot, capsys):
    write_model(shoot / "x.safetensors", cfa="xtrans")
    assert run(["evaluate", "x.safetensors", "--pairs", "pairs.txt", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "is for X-Trans sensors" in said and "Traceback" not in said
