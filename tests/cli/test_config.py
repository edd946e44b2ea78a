"""Defaults and presets in led.toml."""

import json
import os
import tomllib

import pytest

from ledcli.cli.app import run
from ledcli.cli.config import TEMPLATE
from ledcli.metadata.xmp import note_in
from tests.shoot import make_raw


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the user's file and that of the working folder, which is the test's."""
    monkeypatch.chdir(tmp_path)

    def write(user="", here=""):
        for path, text in ((f"{os.environ['LED_HOME']}/led.toml", user), ("led.toml", here)):
            if text:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)

    return write


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def configuration(capsys, *options):
    """Return what `led denoise` says of its configuration, and the place of each value."""
    make_raw("a.dng")
    capsys.readouterr()
    assert run(["denoise", "a.dng", "--dry-run", "--json", *options]) == 0
    first, *_ = lines(capsys)
    return {
        name: (each["value"], each["from"].rpartition("/")[2])
        for name, each in first.get("configuration", {}).items()
    }


def test_the_command_line_wins_then_the_preset_then_the_working_folder(files, capsys):
    files(
        user="""
        [denoise]
        ratio = 2
        strength = 0.5
        luma = 0.1
        format = ["dng", "png"]
        [preset.concert.denoise]
        luma = 0.7
        """,
        here="[denoise]\nstrength = 0.9\nluma = 0.2",
    )
    plain = configuration(capsys)
    assert plain["strength"] == ("0.9", "led.toml") and plain["luma"] == ("0.2", "led.toml")
    assert plain["ratio"] == ("2", "led.toml") and plain["format"] == (["dng", "png"], "led.toml")
    concert = configuration(capsys, "--preset", "concert")
    assert concert["luma"] == ("0.7", "led.toml, preset concert")
    assert concert["strength"] == ("0.9", "led.toml")
    given = configuration(capsys, "--preset", "concert", "--luma", "1", "--format", "tiff")
    assert given.keys() == {"ratio", "strength"}
    assert configuration(capsys, "--preset", "none") == {}


def test_of_ratio_and_exposure_the_stronger_one_counts(files, capsys):
    files(
        user="[denoise]\nratio = 2\n[preset.level.denoise]\nexposure = 1e9",
        here="[denoise]\nlinear = true",
    )
    assert configuration(capsys).keys() == {"ratio", "linear"}
    assert configuration(capsys, "--exposure", "1e9").keys() == {"linear"}
    assert configuration(capsys, "--ratio", "3").keys() == {"linear"}
    assert configuration(capsys, "--preset", "level").keys() == {"linear", "exposure"}
    files(here="[denoise]\nratio = 2\nexposure = 1e9")
    assert run(["denoise", "a.dng"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_strength_replaces_the_luma_and_chroma_of_weaker_places(files, capsys):
    files(user="[denoise]\nluma = 0.7\nchroma = 0.3", here="[denoise]\nchroma = 0.9")
    assert configuration(capsys).keys() == {"luma", "chroma"}
    assert configuration(capsys, "--strength", "0.2") == {}
    assert configuration(capsys, "--luma", "1") == {"chroma": ("0.9", "led.toml")}
    files(here="[denoise]\nstrength = 0.5\nchroma = 0.9")
    assert configuration(capsys).keys() == {"strength", "chroma"}
    assert run(["config", "show"]) == 0 and "luma" not in capsys.readouterr().out
    assert run(["denoise", "a.dng", "--strength", "0.2"]) == 0
    with open("denoised/a.dng", "rb") as file:
        note = note_in(file.read())
    assert note["strength"] == "0.2" and "luma" not in note and "chroma" not in note


def test_the_values_are_those_that_the_command_runs_with(files, capsys):
    files(here="[preset.soft.denoise]\nstrength = 0.5\nluma = 0.25\nratio = 3")
    make_raw("a.dng")
    assert run(["denoise", "a.dng", "--preset", "soft", "--quiet"]) == 0
    assert capsys.readouterr().err == ""  # quiet
    with open("denoised/a.dng", "rb") as file:
        note = note_in(file.read())
    assert (note["luma"], note["chroma"], note["ratio"]) == ("0.25", "0.5", "3.0")


def test_what_comes_from_a_file_is_said(files, capsys):
    files(here='[denoise]\nname = "{stem}-x{ext}"\n[info]\nrecursive = true')
    make_raw("a.dng")
    assert run(["denoise", "a.dng", "--dry-run"]) == 0
    assert "from led.toml: name = {stem}-x{ext}" in capsys.readouterr().err
    assert run(["info", ".", "--json"]) == 0
    first, photo = lines(capsys)
    assert first == {"configuration": {"recursive": {"value": True, "from": "led.toml"}}}
    assert photo["file"].endswith("a.dng")
    assert run(["info", ".", "--json", "--no-recursive"]) == 0
    assert lines(capsys) == [photo]


@pytest.mark.parametrize(
    "text,says",
    [
        ("[denose]\nratio = 1", "denose: no such command: did you mean 'denoise'?"),
        ("[denoise]\nstrenght = 1", "denoise.strenght: no such option: did you mean 'strength'?"),
        ("[denoise]\nnothing-like-it = 1", "denoise.nothing-like-it: no such option"),
        ("[pairs.scn]\njson = true", "pairs.scn: no such command: did you mean 'scan'?"),
        ("[denoise]\nstrength = 1.5", "denoise.strength: Invalid value"),
        ('[denoise]\nquality = "finest"', "denoise.quality: Invalid value"),
        ('[denoise]\nrecursive = "yes"', "denoise.recursive: takes true or false"),
        ("[denoise]\nratio = true", "denoise.ratio: takes a text, a number or a list"),
        ("[denoise.ratio]\na = 1", "denoise.ratio: takes a text, a number or a list"),
        ("[denoise]\noverwrite = true", "give --overwrite on the command line"),
        ("[denoise]\nquiet = true", "give --quiet on the command line"),
        ("[models.pull]\nregistry = 'x'", "give --registry on the command line"),
        ("[models.pull]\nname = 'x'", "give --name on the command line"),
        ("[pairs.scan]\nout = 'x'", "give --out on the command line"),
        ('[demo]\nout = "x"', "demo: no such command"),
        ("denoise = 5", "denoise must be a table: write [denoise]"),
        ("preset = 5", "preset must be a table"),
        ("[denoise", "not valid TOML"),
        ("[preset.none.denoise]\nratio = 1", "--preset none ignores the files: rename it"),
        ("[preset.a.denoise]\nstrenght = 1", "did you mean 'strength'?"),
        ("[preset.a.preset.b.denoise]\nratio = 1", "preset: no such command"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(files, capsys, text, says):
    files(here=text)
    preset = ["--preset", "a"] if "preset.a" in text else []
    command = ["pairs", "scan", "."] if "pairs" in text else ["denoise", "."]
    command = ["models", "pull"] if "models" in text else command
    assert run([*command, *preset]) == 2
    error = capsys.readouterr().err
    assert "led: led.toml" in error and says in error and error.count("\n") == 1
    assert run([*command, "--preset", "none", "--help"]) == 0


def test_a_preset_that_does_not_exist_is_refused(files, capsys):
    files(here="[preset.concert.denoise]\nratio = 8")
    for name, says in (("concrete", "did you mean 'concert'?"), ("xyz", "led config show")):
        assert run(["info", ".", "--preset", name]) == 2
        assert f"no preset '{name}'" in (error := capsys.readouterr().err) and says in error


def test_a_file_that_is_none_is_refused(files, tmp_path, capsys):
    (tmp_path / "led.toml").mkdir()
    assert run(["info", "."]) == 2
    assert "not a configuration file" in capsys.readouterr().err
    (tmp_path / "led.toml").rmdir()
    (tmp_path / "led.toml").write_text("x = " + "[" * 100_000)
    assert run(["info", "."]) == 2
    assert "not valid TOML" in capsys.readouterr().err


def test_a_configuration_folder_that_cannot_be_searched_is_warned_of(files, monkeypatch, capsys):
    files(here="[info]\nrecursive = true")
    make_raw("a.dng")
    monkeypatch.setenv("LED_HOME", "/" + "x" * 300)  # an error of the system, even for root
    assert run(["info", "."]) == 0
    error = capsys.readouterr().err
    assert "warning: /xxx" in error and "from led.toml: recursive" in error
    assert run(["config", "path"]) == 0


def test_show_lists_the_values_and_checks_every_table(files, capsys):
    files(user="[finetune]\niters = 99", here="[preset.p.pairs.scan]\nkeep = true")
    assert run(["config", "show", "--json", "--preset", "p"]) == 0
    first, second = lines(capsys)
    assert (first["command"], first["option"], first["value"]) == ("finetune", "iters", "99") or (
        second["command"],
        second["option"],
        second["value"],
    ) == ("finetune", "iters", "99")
    files(here="[preset.p.evaluate]\nratio = 1")
    assert run(["config", "show"]) == 2
    assert "did you mean 'ratios'?" in capsys.readouterr().err


def test_init_makes_a_file_whose_examples_are_right_and_keeps_one_that_is_there(files, capsys):
    assert run(["config", "init"]) == 0 and run(["config", "init", "--here"]) == 0
    made = capsys.readouterr().out.split()
    assert run(["config", "path"]) == 0
    assert capsys.readouterr().out.split() == made
    assert run(["config", "init", "--here"]) == 1
    assert "already exists" in capsys.readouterr().err
    examples = "\n".join(
        line[2:] for line in TEMPLATE.splitlines()[3:] if "led denoise" not in line
    )
    assert tomllib.loads(examples)["preset"]["stars"]["denoise"]["quality"] == "best"
    files(here=examples)
    assert run(["config", "show", "--preset", "stars"]) == 0
    assert "preset stars" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text,typed,says",
    [
        ("[finetune]\nschedule = 'led'", "finetune --method adl", "schedule = led"),
        ("[finetune]\nl1 = 2", "finetune", "l1 = 2"),
        ("[finetune]\npretrained = 'none'", "finetune --method led", "pretrained = none"),
        ("[finetune]\nmethod = 'sad'", "finetune", "method = sad"),
        ("[finetune]\nschedule = 'sad'", "finetune", "schedule = sad"),
        ("[evaluate]\ngains = '3'", "evaluate --pairs pairs.txt", "gains = 3"),
        ("[evaluate]\nsid = 'x'", "evaluate --pairs pairs.txt", "sid = x"),
        ("[evaluate]\nsid = 'x'", "evaluate", None),
        ("[denoise]\nout = 'x'", "denoise x/none.dng", None),
        ("[denoise]\nratio = 1", "denoise 1.dng", None),
        ("[denoise]\nmodel = 'generic'", "denoise generic/a.dng", None),
        ("[denoise]\nprecision = 'int8'", "denoise a.dng", "precision = int8"),
        ("[evaluate]\ndevice = 'sad'", "evaluate --pairs pairs.txt", "device = sad"),
        ("[denoise]\nlinear = true", "denoise a.dng --format png", "linear = true"),
        ("[denoise]\nmodel = 'nobody'", "denoise a.dng", "model = nobody"),
        ("[preset.p.denoise]\nsteps = 2", "denoise a.dng --preset p", "steps = 2"),
        ("[preview]\nquality = 'fast'", "preview a.dng --model generic --choose 1", None),
    ],
)
def test_an_error_says_which_file_a_value_is_from(files, capsys, text, typed, says):
    files(here=text)
    make_raw("a.dng")
    make_raw("b.dng", exposure_time=2.0)
    with open("pairs.txt", "w", encoding="utf-8") as file:
        file.write("a.dng b.dng\n")
    status = run([*typed.split(), "-q"])
    said = capsys.readouterr().err
    if says is None:
        assert " is from " not in said
        return
    assert status in (1, 2) and said.count("\n") == 1
    place = "led.toml, preset p" if "preset" in text else "led.toml"
    assert said.endswith(f" ({says} is from {place})\n")
