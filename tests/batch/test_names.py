import os
import random
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledcli.batch.plan import KEYS, alike, plan_names
from ledcli.errors import OutputError, UsageError
from ledcli.output.formats import FORMATS
from ledcli.raw.inputs import FoundRaw, find_raws


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def planned(*inputs, formats=("dng",), out=None, name="{stem}{ext}", **how):
    """Source: results, as text."""
    jobs = plan_names(find_raws(inputs, **how), formats, out, name)
    return {str(j.source): [str(p) for p in j.outputs.values()] for j in jobs}


def all_different(results):
    paths = [alike(path) for outputs in results.values() for path in outputs]
    return len(set(paths)) == len(paths)


def test_results_are_in_denoised_beside_the_input(here):
    touch("shoot/raw/a.CR2", "b.NEF")
    assert planned("shoot/raw") == {"shoot/raw/a.CR2": ["shoot/denoised/a.dng"]}
    assert planned("shoot/raw/a.CR2") == {"shoot/raw/a.CR2": ["shoot/raw/denoised/a.dng"]}
    assert planned("b.NEF") == {"b.NEF": ["denoised/b.dng"]}
    # Beside the folder we are in would be out of sight.
    assert planned(".") == {"b.NEF": ["denoised/b.dng"]}


def test_another_folder_and_several_formats(here):
    touch("raw/a.CR2")
    results = planned("raw", formats=("dng", "png", "tiff"), out=Path("clean"))
    assert results == {"raw/a.CR2": ["clean/a.dng", "clean/a.png", "clean/a.tif"]}


def test_subfolders_are_kept_under_one_root(here):
    touch("raw/1/a.CR2", "raw/2/a.CR2", "raw/b.CR2")
    jobs = plan_names(find_raws(["raw"], recursive=True), ["dng"])
    results = {str(job.source): str(job.outputs["dng"]) for job in jobs}
    assert results == {
        "raw/1/a.CR2": "denoised/1/a.dng",
        "raw/2/a.CR2": "denoised/2/a.dng",
        "raw/b.CR2": "denoised/b.dng",
    }
    assert {job.root for job in jobs} == {Path("denoised")}


def test_one_root_however_it_is_spelled(here):
    touch("raw/a.CR2", "raw/b.CR2", "Raw/c.CR2")
    os.symlink("raw", "way")
    jobs = plan_names(find_raws(["raw/a.CR2", str(here / "raw/b.CR2"), "Raw/c.CR2"]), ["dng"])
    roots = [str(job.root) for job in jobs]
    assert roots == ["raw/denoised", "raw/denoised", "Raw/denoised"]
    assert all(path.is_relative_to(job.root) for job in jobs for path in job.outputs.values())


def test_no_two_photos_share_a_result(here):
    touch("raw/a.CR2", "raw/a.NEF", "raw/A.ARW", "raw/b.CR2", "more/b.CR2", "raw/a.CR2.dng")
    results = planned("raw", "more/b.CR2", out=Path("out"))
    assert len(results) == 6 and all_different(results)
    assert results["raw/a.NEF"] == ["out/a.NEF.dng"]
    assert all(Path(name).stem in outputs[0] for name, outputs in results.items())


def test_photos_of_one_name_from_two_folders(here):
    touch("1/a.CR2", "2/a.CR2", "3/a.CR2")
    results = planned("1/a.CR2", "2/a.CR2", "3/a.CR2", out=Path("out"))
    assert all_different(results)


def test_letters_that_a_file_system_takes_for_the_same(here):
    names = [
        f"{unicodedata.normalize(form, 'Zürich')}.{end}"
        for form in ("NFC", "NFD")
        for end in ("CR2", "NEF")
    ]
    touch(*(f"raw/{name}" for name in [*names, "zÜRICH.arw"]))
    results = planned("raw", formats=("dng", "png"))
    assert len(results) >= 3 and all_different(results)


def test_a_result_never_has_the_name_of_a_folder_of_results(here):
    touch("raw/a.CR2", "raw/a.dng/b.CR2", "raw/A.png/sub/c.CR2")
    results = planned("raw", recursive=True, formats=("dng", "png"))
    assert results["raw/a.CR2"] == ["denoised/a.CR2.dng", "denoised/a.CR2.png"]
    assert results["raw/a.dng/b.CR2"][0] == "denoised/a.dng/b.dng"


def test_names_do_not_depend_on_the_order_of_the_photos(here):
    touch("1/a.CR2", "2/a.CR2", "2/A.cr2", "1/a.NEF", "2/b.CR2", "1/a.CR2.dng")
    raws = find_raws(["1", "2"])
    names = {job.source: job.outputs for job in plan_names(raws, ["dng"], Path("out"))}
    for seed in range(5):
        random.Random(seed).shuffle(raws)
        assert {job.source: job.outputs for job in plan_names(raws, ["dng"], Path("out"))} == names


PARTS = st.text(alphabet="aAüÜ.2-C", min_size=1, max_size=5).filter(lambda t: t.strip("."))
TEMPLATES = [
    "{stem}{ext}",
    "{stem}-led{ext}",
    "{folder}{stem}{ext}",
    "{name}{ext}",
    "x{stem}-2{ext}",
]


@given(
    st.lists(st.tuples(PARTS, PARTS), min_size=1, max_size=12, unique=True),
    st.sampled_from(TEMPLATES),
)
def test_whatever_the_photos_and_the_template_no_two_results_are_alike(photos, template):
    raws = [FoundRaw(Path("r", a, b), Path(a), Path("denoised")) for a, b in photos]
    jobs = plan_names(raws, ["dng", "png", "tiff"], None, template)
    assert [job.source for job in jobs] == [raw.file for raw in raws]
    paths = [path for job in jobs for path in job.outputs.values()]
    folders = {alike(str(place)) for path in paths for place in path.parents}
    names = [alike(str(path)) for path in paths]
    assert len(set(names)) == len(names) and folders.isdisjoint(names)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}-led{ext}", "IMG_1-led.png"),
        ("{name}{ext}", "IMG_1.CR2.png"),
        ("{folder}_{stem}_{suffix}{ext}", "raw_IMG_1_CR2.png"),
        ("clean {stem} {{led}}{ext}", "clean IMG_1 {led}.png"),
    ],
)
def test_names_follow_the_template(here, template, name):
    touch("shoot/raw/IMG_1.CR2")
    (results,) = planned("shoot/raw", formats=("dng", "png"), name=template).values()
    assert Path(results[1]).name == name


def test_photos_of_one_stem_stay_apart_under_a_template(here):
    touch("raw/IMG_1.CR2", "raw/IMG_1.NEF")
    results = planned("raw", name="{stem}-led{ext}")
    assert results["raw/IMG_1.CR2"] == ["denoised/IMG_1.CR2-led.dng"]
    assert results["raw/IMG_1.NEF"] == ["denoised/IMG_1.NEF-led.dng"]


def test_the_photos_of_a_hidden_folder_are_not_hidden(here):
    touch(".shoot/a.CR2")
    (results,) = planned(".shoot/a.CR2", name="{folder}-{stem}{ext}", out=Path("out")).values()
    assert results == ["out/shoot-a.dng"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{stem}-{iso}{ext}", r"'\{iso\}': use .*\{stem\}"),
        ("{}{ext}", "unknown key"),
        ("{0}{ext}", "unknown key"),
        ("{stem.__class__}{ext}", "unknown key"),
        ("{stem[0]}{ext}", "unknown key"),
        ("{stem!r}{ext}", "unknown key"),
        ("{stem:>900000000}{ext}", "unknown key"),
        ("{stem:{ext}}{ext}", "unknown key"),
        ("{folder}{ext}", r"needs \{stem\} or \{name\}"),
        ("{ext}", r"needs \{stem\} or \{name\}"),
        ("", r"needs \{stem\} or \{name\}"),
        ("{stem}", r"\{ext\}, and have it only once"),
        ("{stem}.dng", r"\{ext\}, and have it only once"),
        ("{stem}{ext}~", r"\{ext\}, and have it only once"),
        ("{stem}{ext}{ext}", r"\{ext\}, and have it only once"),
        ("{stem", "expected '}'"),
        ("{stem}}{ext}", "Single '}'"),
        ("../{stem}{ext}", "--out"),
        ("a\\{stem}{ext}", "--out"),
        ("{stem}\n{ext}", "separators or control"),
        ("{stem}\0{ext}", "separators or control"),
        (".{stem}{ext}", "hidden"),
        ("{stem}" + "x" * 300 + "{ext}", "more than 100 bytes"),
    ],
)
def test_an_invalid_template_is_refused_in_one_line(template, why):
    with pytest.raises(UsageError, match=why) as told:
        plan_names([], ["dng"], None, template)
    assert "--name" in str(told.value)


@given(st.text(alphabet=string.printable + "{}ü\ud800", max_size=30))
def test_no_template_is_a_traceback_and_none_leaves_the_folder(template):
    raw = FoundRaw(Path("raw/a.CR2"), Path(), Path("denoised"))
    try:
        (job,) = plan_names([raw], list(FORMATS), None, template)
    except UsageError:
        return
    for path in job.outputs.values():
        assert path.parent == Path("denoised") and not path.name.startswith(".")


def test_every_key_is_documented():
    for key in KEYS:
        touchable = "{stem}{ext}" if key == "ext" else f"{{stem}}{{{key}}}{{ext}}"
        assert plan_names([], ["dng"], None, touchable) == []


@pytest.mark.parametrize("name", ["a.dng", "a.DNG"])
def test_a_result_never_lies_on_a_source(here, name):
    # a.dng is a.DNG where the file system does not tell them apart.
    touch(f"raw/{name}")
    with pytest.raises(OutputError, match="--out"):
        planned("raw", out=Path("raw"))
    with pytest.raises(OutputError, match="--out"):
        planned(f"raw/{name}", out=here / "raw" / ".." / "raw")
    assert planned("raw", out=Path("raw"), name="{stem}-led{ext}")


def test_a_result_never_lies_on_a_source_through_a_link(here):
    touch("raw/a.dng", "other/b.CR2", "real/b.dng")
    os.symlink("raw", "link")
    with pytest.raises(OutputError):
        planned("raw", out=Path("link"))
    os.symlink("real/b.dng", "c.dng")
    with pytest.raises(OutputError):
        planned("c.dng", "other/b.CR2", out=Path("real"))


def test_names_of_no_encoding_and_with_newlines_are_kept(here):
    touch("raw/a\nb.CR2", os.fsdecode(b"raw/caf\xe9.CR2"))
    assert planned("raw", name="{stem}-led{ext}") == {
        "raw/a\nb.CR2": ["denoised/a\nb-led.dng"],
        os.fsdecode(b"raw/caf\xe9.CR2"): [os.fsdecode(b"denoised/caf\xe9-led.dng")],
    }


def test_an_unknown_format_is_refused(here):
    touch("a.CR2")
    with pytest.raises(UsageError, match="no format 'jpeg': choose dng, png, tiff"):
        planned("a.CR2", formats=("jpeg",))


def test_the_folder_of_a_name_is_that_of_the_file_after_a_link_and_two_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("real/deep", "there"):
        Path(name).mkdir(parents=True)
    Path("real/a.CR2").write_bytes(b"")
    os.symlink("../real/deep", "there/link")
    (job,) = plan_names(find_raws(["there/link/.."]), ["dng"], Path("out"), "{folder}-{stem}{ext}")
    assert job.outputs["dng"].name == "real-a.dng"
