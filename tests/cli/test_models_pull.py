"""`led models pull`: from a server's file to a model in the store, pinned to its hash."""

import hashlib
import json

import pytest

from ledcli.cli.app import run
from ledcli.zoo import download, importing
from ledcli.zoo.model_file import load_model, read_spec
from ledcli.zoo.store import installed_dir
from tests.webserver import serving
from tests.zoo import checkpoints
from tests.zoo.checkpoints import DEPLOYED_NAME, PLAIN, save


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "sleep", lambda seconds: None)


@pytest.fixture
def site(tmp_path):
    tensors = checkpoints.fill(PLAIN["unet"])
    path = save(tmp_path / "made.pth", {"params_deploy": tensors})
    with serving() as site:
        site.files["/led.pth"] = path.read_bytes()
        yield site


@pytest.fixture
def registry(site, tmp_path):
    """Write a registry of one entry; what is given stands in it."""

    def write(**more):
        entry = {
            "file": DEPLOYED_NAME,
            "urls": [f"{site.url}/led.pth"],
            "licence": "CC-BY-NC-4.0",
            "licence_url": "https://licence.example/",
            "source": "tests",
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in (entry | more).items()]
        path = tmp_path / "more.toml"
        path.write_text("\n".join(["[models.tiny]", *lines]))
        return str(path)

    return write


def pull(registry, *more):
    return run(["models", "pull", "tiny", "--registry", registry, *more])


def sha256(site):
    return hashlib.sha256(site.files["/led.pth"]).hexdigest()


def downloads(led_home):
    return [p.name for p in (led_home / "downloads").iterdir() if p.suffix != ".lock"]


def test_the_licence_comes_before_the_download(site, registry, capsys):
    assert pull(registry()) == 2
    err = capsys.readouterr().err
    assert "CC-BY-NC-4.0" in err and "https://licence.example/" in err
    assert site.requests == []


def test_a_pulled_model_is_installed_and_its_hash_pinned(site, registry, led_home, capsys):
    assert pull(registry(), "--accept-license") == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny: unet, deploy form, ratios 100 to 300, Sony ILCE-7SM2; installed")
    assert f"later downloads must have this one: SHA-256 {sha256(site)}" in err
    spec, _ = load_model(installed_dir() / "tiny.safetensors")
    assert spec.source == f"{site.url}/led.pth, of tests"
    assert downloads(led_home) == []
    # Another file under the same name is not taken.
    site.files["/led.pth"] += b"?"
    assert pull(registry(), "--name", "again") == 1
    assert "The file has changed" in capsys.readouterr().err
    assert not (installed_dir() / "again.safetensors").exists()
    assert downloads(led_home) == []


def test_a_registry_pins_a_hash(site, registry, capsys):
    assert pull(registry(sha256="0" * 64), "--accept-license") == 1
    assert f"expected sha256:{'0' * 64}" in capsys.readouterr().err
    assert pull(registry(sha256=sha256(site)), "--json", "-q") == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert err == ""
    assert (record["model"], record["status"], record["pinned_by"]) == ("tiny", "done", "registry")
    assert record["sha256"] == sha256(site)


def test_a_mirror_takes_over(site, registry, capsys):
    urls = [f"{site.url}/gone.pth", f"{site.url}/led.pth"]
    assert pull(registry(urls=urls), "--accept-license") == 0
    assert "answers 404" in capsys.readouterr().err


def test_a_broken_download_leaves_nothing_and_the_next_one_works(site, registry, led_home, capsys):
    site.breaks = [5_000] * 6
    assert pull(registry(), "--accept-license") == 1
    assert "try again later" in capsys.readouterr().err
    assert downloads(led_home) == []
    assert pull(registry()) == 0


def test_a_second_led_does_not_touch_what_the_first_imports(site, registry, monkeypatch, capsys):
    install = importing.import_checkpoint

    def meanwhile(path, **how):
        monkeypatch.setattr(importing, "import_checkpoint", install)
        assert pull(registry(), "--name", "other") == 1
        assert "another led process is downloading" in capsys.readouterr().err
        return install(path, **how)

    monkeypatch.setattr(importing, "import_checkpoint", meanwhile)
    assert pull(registry(), "--accept-license") == 0
    assert pull(registry(), "--name", "other") == 0


def test_the_list_says_what_is_unknown(registry, capsys):
    assert run(["models", "pull"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 19
    assert all(line.count("unknown until fetched") == 2 for line in lines[1:])
    assert pull(registry(), "--accept-license", "-q") == 0
    capsys.readouterr()
    assert run(["models", "pull", "--registry", registry(), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records[-1]["sha256"]) == 64
    assert records[0]["sha256"] is records[0]["bytes"] is None


def test_what_is_no_checkpoint_is_neither_kept_nor_pinned(site, registry, led_home, capsys):
    good = site.files["/led.pth"]
    site.files["/led.pth"] = b"not this"
    assert pull(registry(), "--accept-license") == 1
    assert "is not a torch checkpoint" in capsys.readouterr().err
    assert downloads(led_home) == []
    site.files["/led.pth"] = good
    assert pull(registry()) == 0


def test_dry_run_and_a_name_that_is_taken_fetch_nothing(site, registry, led_home, capsys):
    assert pull(registry(), "--dry-run") == 0
    assert capsys.readouterr().out == f"tiny: {site.url}/led.pth\n"
    assert pull(registry(), "--accept-license", "--name", "sony") == 1
    assert site.requests == []
    assert list(led_home.iterdir()) == []


def test_without_a_name_it_lists_what_there_is(registry, capsys):
    assert run(["models", "pull"]) == 0
    out, err = capsys.readouterr()
    assert "led-deploy-unet-eld-ratio100-300-sonya7s2" in out and "CC-BY-NC-4.0" in out
    assert "registry.toml" in err
    assert run(["models", "pull", "--registry", registry(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "tiny"
    assert run(["models", "pull", "led-nokia"]) == 2
    assert "There are: led-pretrain-unet-pmn-ratio100-300" in capsys.readouterr().err


def test_the_camera_of_a_registry_goes_before_the_names(registry):
    how = {"camera": "PENTAX K-1", "ratio_range": [50, 200]}
    assert pull(registry(**how), "--accept-license", "-q") == 0
    spec = read_spec(installed_dir() / "tiny.safetensors")
    assert (spec.cameras, spec.ratio_range) == (("PENTAX K-1",), (50.0, 200.0))
