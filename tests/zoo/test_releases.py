import re

import pytest

from ledcli.errors import ModelError, UsageError
from ledcli.output.atomic import acquire_lock
from ledcli.zoo import releases
from ledcli.zoo.checkpoint_file import parse_name
from ledcli.zoo.download import check_url
from ledcli.zoo.releases import PullHistory, model_name, own_registry, read_releases

SONY = "led-deploy-unet-eld-ratio100-300-sonya7s2"
ENTRY = """
[models.mine]
file = "net.pth"
urls = ["https://a.example/net.pth"]
licence = "MIT"
licence_url = "https://licence.example/"
source = "tests"
ratio_range = [1, 200]
"""


@pytest.fixture
def extra(tmp_path):
    def write(text):
        path = tmp_path / "more.toml"
        path.write_text(text)
        return path

    return write


def test_the_bundled_entries_are_whole_and_safe():
    releases = read_releases()
    assert len(releases) == 19  # 22 published rows, three of them twice
    for release in releases.values():
        assert release.licence == "CC-BY-NC-4.0"
        assert release.sha256 is release.bytes is None  # unknown: pinned at the first download
        for url in release.urls:
            check_url(url)
        # GitHub first, where there is one.
        assert re.fullmatch(r"https://drive\.google\.com/file/d/[\w-]{33}/view", release.urls[-1])
        assert all(url.endswith(release.file) for url in release.urls[:-1])
        assert ("sonya7s2" in release.name) == (release.camera == "Sony ILCE-7SM2")
        assert ("nikond850" in release.name) == (release.camera == "NIKON D850")
    assert len({url for r in releases.values() for url in r.urls}) == 19 + 3
    for release in releases.values():
        low, high = release.ratio_range
        assert f"-ratio{low:g}-{high:g}" in release.name
        assert (release.method or "led") == release.name.partition("-")[0]
        if len(release.urls) > 1:
            assert parse_name(release.file.removesuffix(".pth")).ratio_range == (low, high)


def test_ones_own_registry_adds_entries_and_mirrors(extra):
    own_registry().parent.mkdir(parents=True, exist_ok=True)
    mirror = "https://mirror.example/led.pth"
    own_registry().write_text(
        f'[models.{SONY}]\nurls = ["{mirror}"]\nsha256 = "{"a" * 64}"\nbytes = 31000000\n'
    )
    before = read_releases()[SONY]
    assert before.urls[0] == mirror and len(before.urls) == 3
    assert (before.sha256, before.bytes, before.licence) == ("a" * 64, 31_000_000, "CC-BY-NC-4.0")
    nearer = "https://nearer.example/led.pth"
    releases = read_releases(extra(ENTRY + f'[models.{SONY}]\nurls = ["{nearer}", "{mirror}"]'))
    assert releases[SONY].urls[:2] == (nearer, mirror) and len(releases[SONY].urls) == 4
    assert releases["mine"].ratio_range == (1.0, 200.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "is not TOML"),
        ("[modles.a]\n", "and [defaults] only"),
        ("models = 3", "and [defaults] only"),
        ("[models]\na = 3", "must be a table"),
        ('[models."A B"]\n', "cannot name a model"),
        (ENTRY + "sha265 = 1", "unknown key 'sha265'"),
        (ENTRY + "sha256 = 'AB'", "64 digits"),
        (ENTRY + "bytes = true", "bytes must be"),
        (ENTRY + "bytes = 1_000_000_000_000", "bytes must be"),
        (ENTRY + "camera = 3", "camera must be"),
        (ENTRY.replace("net.pth", "../net.pth", 1), "plain name"),
        (ENTRY.replace("net.pth", "net.exe", 1), "plain name"),
        (ENTRY.replace('["https://a.example/net.pth"]', "[]"), "urls must be"),
        (ENTRY.replace('["https://a.example/net.pth"]', "3"), "list of addresses"),
        (ENTRY.replace("[1, 200]", "[200, 1]"), "ratio_range must be"),
        (ENTRY.replace("ratio_range = [1, 200]", ""), "needs ratio_range"),
        (ENTRY.replace('licence = "MIT"', ""), "licence must be"),
        ("defaults = 3", "and [defaults] only"),
    ],
)
def test_a_registry_that_is_wrong_is_refused_by_file_and_key(extra, text, message):
    path = extra(text)
    with pytest.raises(ModelError) as caught:
        read_releases(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_hold_for_every_entry_of_their_file(extra):
    entry = ENTRY.replace('licence = "MIT"\n', "")
    releases = read_releases(extra('[defaults]\nlicence = "CC0-1.0"\n' + entry))
    assert releases["mine"].licence == "CC0-1.0"
    assert releases[SONY].licence == "CC-BY-NC-4.0"


def test_a_registry_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ModelError, match="no such registry"):
        read_releases(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("stem", "ratios", "camera"),
    [
        ("LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300", (100, 300), "SonyA7S2"),
        ("LED_Pretrain_None_None_CVPR20_Setting_Ratio1-200", (1, 200), ""),
        ("ELD_Deploy_ELD_CanonEOS70D_Two_Words_Setting_Ratio0.5", (0.5, 0.5), "CanonEOS70D"),
    ],
)
def test_a_published_name_tells_ratios_and_camera(stem, ratios, camera):
    told = parse_name(stem)
    assert (told.ratio_range, told.camera) == (ratios, camera)


@pytest.mark.parametrize(
    "stem",
    [
        "net_g_latest",
        "LED_Deploy_SID_SonyA7S2_CVPR20_Setting",
        "a_b_c_d_e_Setting_Ratio300-100",
        "",
    ],
)
def test_another_name_tells_nothing(stem):
    assert parse_name(stem) is None


def test_a_file_names_its_model():
    assert model_name("Net G (1)_latest") == "net-g-1-latest"
    assert len(model_name("a" * 300)) == 64
    with pytest.raises(UsageError, match="--name"):
        model_name("照片")


def test_notes_are_written_by_one_process_at_a_time(monkeypatch):
    def write(path, data):
        assert acquire_lock(path.with_suffix(".lock")) is None
        written.append(path)

    written = []
    monkeypatch.setattr(releases, "atomic_write", write)
    PullHistory().pin("a", "f" * 64)
    assert written


def test_notes_are_kept_and_a_damaged_file_of_them_is_named(led_home):
    PullHistory().pin("a", "f" * 64)
    notes = PullHistory()
    assert notes.sha256("a") == "f" * 64
    assert notes.accept("MIT", "u", accepted=True)
    assert not PullHistory().accept("MIT", "u", accepted=False)
    with pytest.raises(UsageError, match="CC-BY-NC"):
        notes.accept("CC-BY-NC-4.0", "u", accepted=False)
    notes.path.write_text("[1, 2")
    with pytest.raises(ModelError, match="delete it"):
        PullHistory()
