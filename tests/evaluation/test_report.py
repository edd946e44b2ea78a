"""The report as its reader meets it: in a browser, from a file, without a network."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ledcli.errors import OutputError
from ledcli.evaluation.report import check_report, encode_pictures, write_report
from ledcli.evaluation.results import NOISY, Evaluation, FrameResult, Group, place_curves
from tests.evaluation.browser import Browser, program
from tests.evaluation.evaluations import CAMERAS, MODELS, RATIOS, evaluation

EVIL = "<script>fail()</script>\"'&amp;</td>"


@pytest.fixture(scope="module")
def made():
    return evaluation()


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), made)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = program()
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    browser = Browser(path, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def frame(model, psnr, *, name="a", camera="cam", iso=800.0, ratio=100.0):
    return FrameResult(model, name, camera, iso, ratio, {"psnr": psnr})


def test_the_page_opens_without_errors_or_requests(browser, page):
    browser.open(page)
    browser.run("document.querySelector('#crops .stage').isConnected")
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]
    assert list(page.parent.iterdir()) == [page]


def test_the_page_has_a_row_for_each_model_and_for_each_camera_and_ratio(browser, page):
    browser.open(page)
    rows = browser.run(
        "[...document.querySelectorAll('table')].map(t => "
        "[...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText)))"
    )
    assert [row[0] for row in rows[0]] == ["noisy input", *MODELS[1:]]
    assert [(row[0], row[1]) for row in rows[1]] == [
        (camera, f"{ratio:g}") for camera in sorted(CAMERAS) for ratio in RATIOS
    ]
    # The mean of four ISOs: 41 - 0.8 * 2 - 1.8 at ratio 1 of the third camera.
    assert rows[1][0][2:] == ["4", "37.60", "38.80 +1.20", "37.00 −0.60"]


def test_the_best_of_each_row_is_bold(browser, page):
    browser.open(page)
    bold = browser.run(
        "[...document.querySelectorAll('table')[1].tBodies[0].rows].map(r => "
        "[...r.cells].map(c => c.querySelector('strong') ? 1 : 0).join(''))"
    )
    assert bold == ["000010", "000010", "000010", "000001"] * len(CAMERAS)


def test_the_curves_have_a_line_and_marks_for_each_model(browser, page):
    browser.open(page)
    drawn = browser.run(
        "[...document.querySelectorAll('svg.curves')].map(s => [...s.querySelectorAll('g')].map("
        "g => [g.querySelector('.line').getTotalLength() > 100, g.querySelectorAll('.mark').length,"
        " getComputedStyle(g.querySelector('.line')).stroke]))"
    )
    assert [[line[:2] for line in chart] for chart in drawn] == [[[True, 4]] * len(MODELS)] * 2
    assert len({line[2] for line in drawn[0]}) == len(MODELS)
    inside = browser.run(
        "[...document.querySelectorAll('svg.curves')].every(s => { const box = "
        "s.getBoundingClientRect(); return [...s.querySelectorAll('text, .mark')].every(t => { "
        "const b = t.getBoundingClientRect(); return b.left >= box.left - 1 && b.right <= "
        "box.right + 1 && b.top >= box.top - 1 && b.bottom <= box.bottom + 1; }); })"
    )
    assert inside


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_window(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    wide = browser.run("document.documentElement.scrollWidth")
    assert wide <= width
    assert browser.run("document.documentElement.clientWidth") <= width
    cut = browser.run(
        "[...document.querySelectorAll('main > *, .chart, .crop, .stage, .choice')].filter("
        "e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"
    )
    assert cut == 0
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
    assert light < 60 if dark else light > 200


SHOWN = (
    "(() => { const s = document.querySelector('.stage'); return "
    "[getComputedStyle(s.querySelector('.left')).clipPath, Number(document.querySelector("
    "'.viewer input').value)]; })()"
)


def clip(browser):
    """Share of the first crop that shows the left picture, and the slider's value, in per cent."""
    shape, value = browser.run(SHOWN)
    # As in "inset(0px 48% 0px 0px)": from the right.
    return 100 - float(re.search(r"([\d.]+)%", shape)[1]), value


def test_the_keyboard_moves_the_divider(browser, page):
    browser.open(page)
    browser.run("document.querySelector('.viewer input').focus()")
    before, _ = clip(browser)
    for _ in range(4):
        browser.key("ArrowRight", 39)
    after, value = clip(browser)
    assert (before, after, value) == (50, 52, 52)
    browser.key("Home", 36)
    assert clip(browser) == (0, 0)


def test_dragging_on_the_picture_moves_the_divider(browser, page):
    browser.open(page)
    browser.run("document.querySelector('.stage').scrollIntoView({block: 'center'})")
    x, y, width = browser.run(
        "(() => { const b = document.querySelector('.stage').getBoundingClientRect();"
        " return [b.left, b.top + b.height / 2, b.width]; })()"
    )
    browser.mouse("mousePressed", x + width / 4, y, button="left", buttons=1, clickCount=1)
    assert clip(browser)[1] == pytest.approx(25, abs=1)
    browser.mouse("mouseMoved", x + 0.8 * width, y, button="left", buttons=1)
    assert clip(browser)[1] == pytest.approx(80, abs=1)
    browser.mouse("mouseReleased", x + 0.8 * width, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x + 0.1 * width, y)
    left, value = clip(browser)
    assert value == pytest.approx(80, abs=1)
    assert left == value


def test_a_finger_moves_the_divider(browser, page):
    browser.open(page, width=360)
    browser.run("document.querySelector('.stage').scrollIntoView({block: 'center'})")
    x, y, width = browser.run(
        "(() => { const b = document.querySelector('.stage').getBoundingClientRect();"
        " return [b.left, b.top + b.height / 2, b.width]; })()"
    )
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.9)):
        points = [{"x": x + share * width, "y": y}]
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert clip(browser)[1] == pytest.approx(90, abs=1)


def test_any_two_pictures_can_be_compared(browser, page):
    browser.open(page)
    options = "[...document.querySelector('.choice select').options].map(o => o.text)"
    assert browser.run(options) == ["noisy input", *MODELS[1:], "truth"]
    state = (
        "[...document.querySelectorAll('.crop')].map(c => ['left', 'right'].map(side => "
        "{ const shown = c.querySelector('.stage .' + side).src; return [...c.querySelectorAll("
        "'figure')].find(f => f.querySelector('img').src === shown).dataset.key; }).join(' '))"
    )
    assert browser.run(state) == ["0 1"] * 6
    browser.run(
        "(() => { for (const [i, v] of [[0, 'truth'], [1, '2']]) { const s = "
        "document.querySelectorAll('.choice select')[i]; s.value = v; "
        "s.dispatchEvent(new Event('change')); } })()"
    )
    assert browser.run(state) == ["truth 2"] * 6
    assert "rival-unet" in browser.run("document.querySelector('.said').innerText")


def test_every_picture_is_shown_without_the_script_too(browser, page):
    browser.open(page, scripts=False)
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    names = [n["name"]["value"] for n in tree if n["role"]["value"] == "image" and "name" in n]
    assert sum(": truth" in name for name in names) == 6
    assert sum(": sony" in name for name in names) == 6
    assert "slider" not in {n["role"]["value"] for n in tree}


def test_foreign_names_are_escaped(browser, tmp_path, made):
    frames = [replace(f, camera=EVIL) for f in made.frames if f.camera == CAMERAS[0]]
    crop = replace(made.crops[0], frame=EVIL, camera=EVIL)
    names = [NOISY, EVIL, "rival-unet"]
    frames = [replace(f, model=EVIL) if f.model == "sony" else f for f in frames]
    pictures = {EVIL if k == "sony" else k: v for k, v in crop.pictures.items()}
    psnr = {EVIL if k == "sony" else k: v for k, v in crop.psnr.items()}
    crop = replace(crop, pictures=pictures, psnr=psnr)
    page = write_report(tmp_path, Evaluation(EVIL, names, frames, [crop], [EVIL]))
    browser.open(page)
    assert browser.complaints() == []
    assert browser.run("document.scripts.length") == 1
    assert browser.run("document.title") == f"led evaluate: {EVIL}"
    assert browser.run("document.querySelector('h3 bdi').textContent") == EVIL
    for place in (
        ".lead bdi",
        ".card h2",
        ".skipped li",
        "tbody th bdi",
        ".legend li:nth-child(2)",
    ):
        text = browser.run(f"document.querySelector('{place}').textContent")
        assert EVIL in text, place
    assert EVIL in browser.run("document.querySelectorAll('.choice option')[1].textContent")


def test_a_foreign_script_does_not_run(browser, page, tmp_path):
    changed = tmp_path / "changed.html"
    text = page.read_text("utf-8").replace("</body>", "<script>document.title = 'taken'</script>")
    changed.write_text(text, "utf-8")
    browser.open(changed)
    assert browser.run("document.title").startswith("led evaluate")
    assert browser.complaints()


def test_other_files_of_the_folder_stay_and_an_old_page_is_replaced(tmp_path, made):
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    page = write_report(tmp_path, made, when=datetime(2026, 3, 9))
    assert page == tmp_path / "index.html"
    assert "9 March 2026" in page.read_text("utf-8")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "notes.txt"]


def test_a_page_that_is_not_led_s_is_refused_before_the_work(tmp_path, made):
    write_report(tmp_path, made)
    check_report(tmp_path)
    (tmp_path / "index.html").write_text("<title>My photos</title>")
    with pytest.raises(OutputError, match=r"index\.html: is not a report of led.*--report"):
        check_report(tmp_path)


def test_a_file_instead_of_the_folder_is_an_error(tmp_path, made):
    (tmp_path / "report").write_text("")
    with pytest.raises(OutputError, match="report"):
        write_report(tmp_path / "report", made)


def test_a_name_that_is_not_text_is_written(tmp_path):
    made = Evaluation("x", [NOISY], [frame(NOISY, 20.0, camera="\udcff")], [], ["\udcff: bad"])
    assert "bad" in write_report(tmp_path, made).read_text("utf-8")


def test_an_evaluation_in_which_all_was_skipped_has_a_page(tmp_path):
    text = write_report(tmp_path, Evaluation("x", [NOISY, "m"], [], [], ["a: no"])).read_text()
    assert "No frame was measured." in text
    assert "a: no" in text


def test_a_missing_curve_has_its_reason(tmp_path):
    frames = [frame(NOISY, 20.0, iso=None), frame("m", 30.0, iso=None)]
    text = write_report(tmp_path, Evaluation("x", [NOISY, "m"], frames, [], [])).read_text()
    assert "No curve: all frames have ratio 100." in text
    assert "No curve: the ISO of all frames is unknown." in text


def test_means_by_camera_and_ratio():
    frames = [
        frame(NOISY, 20.0),
        frame(NOISY, 22.0, name="b"),
        frame(NOISY, 30.0, ratio=1.0),
        frame(NOISY, 10.0, camera="another"),
    ]
    found = Evaluation("x", [NOISY], frames, [], []).by_camera_and_ratio()
    assert [(c, r, g[NOISY].frames, g[NOISY].metrics["psnr"]) for c, r, g in found] == [
        ("another", 100.0, 1, 10.0),
        ("cam", 1.0, 1, 30.0),
        ("cam", 100.0, 2, 21.0),
    ]


def test_the_axis_is_logarithmic():
    by_value = [
        (value, {NOISY: Group(NOISY, value, 1, {"psnr": 30.0 - n})})
        for n, value in enumerate((1.0, 10.0, 100.0))
    ]
    (marks,) = place_curves(by_value, [NOISY]).lines
    assert marks[1].x - marks[0].x == pytest.approx(marks[2].x - marks[1].x, abs=0.2)
    heights = [mark.y for mark in marks]
    assert heights == sorted(heights)  # down the page, as PSNR falls


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_figure_that_is_not_a_number_is_left_out(tmp_path, value):
    frames = [frame(NOISY, 20.0), frame("m", value), frame(NOISY, 25.0, ratio=1.0)]
    text = write_report(tmp_path, Evaluation("x", [NOISY, "m"], frames, [], [])).read_text("utf-8")
    assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)


def test_pictures_are_lossless_until_they_are_too_large(made):
    def kinds(crops):
        return {address.split(";")[0] for crop in crops for address in crop.values()}

    shown = [{**crop.pictures, None: crop.truth} for crop in made.crops]
    crops, storage = encode_pictures(shown)
    assert kinds(crops) == {"data:image/png"}
    assert "without loss" in storage
    size = sum(len(address) for crop in crops for address in crop.values())
    crops, storage = encode_pictures(shown, limit=size // 2)
    assert kinds(crops) == {"data:image/jpeg"}
    assert "JPEGs of quality" in storage


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux alone has it")
def test_a_folder_that_can_never_be_made_is_refused_before_the_work():
    with pytest.raises(OutputError, match=r"^/proc/a: nothing can be written there: .*--report"):
        check_report(Path("/proc/a"))
