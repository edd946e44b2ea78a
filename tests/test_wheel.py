"""What a user gets from `pip install`: the wheel, away from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from ledcli import __version__

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, **env):
    """Run a command as a user would: nothing of the checkout on Python's path."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**clean, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation the build needs no network: hatchling is in the dev group.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Folder of programs of a new environment that has the wheel, and sees our dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run(*pip, wheel, cwd=folder)
    own = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    ).strip()
    # A line in a .pth comes after the environment's own packages, and the .pth files in that
    # folder (an editable led among them) are not followed.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(own, "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n")
    return programs


def test_the_wheel_holds_the_package_and_its_models_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(
            archive.read(f"ledcli-{__version__}.dist-info/METADATA").decode()
        )
    assert {name.split("/")[0] for name in names} == {"ledcli", f"ledcli-{__version__}.dist-info"}
    assert "ledcli/__main__.py" in names
    assert "ledcli/evaluation/templates/report.html.j2" in names
    assert [n for n in names if "contrib" in n] == ["ledcli/contrib/darktable/led.lua"]
    assert "ledcli/preview/templates/preview.html.j2" in names
    assert f"ledcli-{__version__}.dist-info/licenses/LICENSE" in names
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    models = [name for name in names if name.startswith("ledcli/models/")]
    assert "ledcli/models/registry.json" in models
    assert any(name.endswith(".safetensors") for name in models)
    assert "ledcli/models/upstream.toml" in models
    known = (".safetensors", ".md", "registry.json", "upstream.toml")
    assert all(name.endswith(known) for name in models)
    assert not any("EXPERIMENTS" in name for name in models)


def test_bm3d_is_not_a_dependency(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(
            archive.read(f"ledcli-{__version__}.dist-info/METADATA").decode()
        )
    needed = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert needed
    assert not any("bm3d" in r or "bm4d" in r for r in needed)


def test_the_conda_recipe_needs_what_the_wheel_needs():
    recipe = (ROOT / "contrib" / "conda" / "recipe.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'version: "{__version__}"' in recipe
    run = recipe.partition("  run:\n")[2].partition("\n\n")[0]
    needed = [line.strip(" -").replace(" ", "") for line in run.splitlines()]
    python, *rest = needed
    assert python == "python>=${{python_min}}"
    assert f'python_min: "{project["requires-python"].removeprefix(">=")}"' in recipe
    assert rest == [each.replace("torch", "pytorch") for each in project["dependencies"]]


def test_the_installed_wheel_is_what_runs(environment, tmp_path):
    code = (
        "import json, ledcli; from ledcli.zoo.store import bundled_dir; "
        "print(json.dumps([ledcli.__file__, str(bundled_dir())]))"
    )
    package, models = json.loads(run(environment / "python", "-c", code, cwd=tmp_path))
    assert Path(package).is_relative_to(environment.parent)
    assert Path(models) == Path(package).parent / "models"
    assert run(environment / "led", "--version", cwd=tmp_path) == f"led {__version__}\n"


def test_the_installed_wheel_denoises_with_the_bundled_model(environment, tmp_path):
    from tests.shoot import make_raw

    photo = tmp_path / "night.dng"
    make_raw(photo, shape=(128, 192), iso=3200, exposure_time=0.02)
    before = photo.read_bytes()
    run(
        environment / "led", "denoise", photo, "--ratio", "10", "--out", tmp_path / "clean",
        cwd=tmp_path,
        LED_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    (result,) = (tmp_path / "clean").glob("*.dng")
    assert result.suffix == ".dng"
    assert result.stat().st_size > 10_000
    assert photo.read_bytes() == before
