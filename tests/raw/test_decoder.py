import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ledcli.errors import LedError, MetadataError, RawError
from ledcli.metadata.xmp import xmp_packet
from ledcli.output.dng import dng_bytes
from ledcli.raw.colour import auto_ratio
from ledcli.raw.decoder import Decoders, ReaderThreads, decode_file
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import pack
from ledcli.sensor.levels import Levels
from tests.raw.jobs import act
from tests.shoot import make_raw, truncate

unix = pytest.mark.skipif(os.name != "posix", reason="signals and FIFOs are Unix's")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds memory so")
ROOT = Path(__file__).resolve().parents[2]


class One(Decoders):
    """One child, closed in the end, and the same work for every file."""

    def __init__(self, work, **limits):
        super().__init__(1, **limits)
        self.work = work

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def decode(self, path):
        return self.run(self.work, path)


@pytest.fixture(scope="module")
def decoder():
    with One(decode_file) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def actor():
    with One(act) as actor:
        yield actor


def same(a, b):
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    if isinstance(a, Levels):
        return all(same(value, vars(b)[name]) for name, value in vars(a).items())
    return a == b


def test_the_child_reads_the_same_as_the_parent(decoder, tmp_path):
    path = tmp_path / "a.nef"
    make_raw(path, phase="GBRG", orientation=6)
    found, expected = decoder.decode(path), read_raw(path)
    for field in vars(expected):
        assert same(getattr(found.photo, field), getattr(expected, field)), field
    planes = pack(expected.normalised(), expected.phase)
    assert found.noise == expected.estimate_noise(planes)
    assert found.auto_ratio == auto_ratio(planes)
    assert found.note is None


def test_a_file_written_by_led_is_known_by_its_note(decoder, tmp_path):
    make_raw(tmp_path / "a.dng")
    photo = read_raw(tmp_path / "a.dng")
    done = tmp_path / "b.dng"
    done.write_bytes(dng_bytes(photo, photo.normalised(), software="led", note={"ratio": 4}))
    assert decoder.decode(done).note["ratio"] == "4"


def test_a_file_written_by_led_without_a_mosaic_is_refused(decoder, tmp_path):
    packet = xmp_packet({"ratio": 4})
    path = tmp_path / "linear.dng"
    tags = [(700, 1, len(packet), packet, True), (50706, 1, 4, bytes((1, 4, 0, 0)), True)]
    tifffile.imwrite(
        path, np.zeros((64, 64, 3), np.uint16), photometric="rgb", metadata=None, extratags=tags
    )
    with pytest.raises(RawError, match="already written by led: give the camera's raw"):
        decoder.decode(path)


@pytest.mark.parametrize("what", ["missing", "empty", "text", "truncated", "folder", "fifo"])
def test_the_child_reports_the_same_errors_as_the_parent(decoder, tmp_path, what):
    path = tmp_path / "a.cr2"
    if what == "empty":
        path.touch()
    elif what == "text":
        path.write_text("a letter to my aunt")
    elif what == "truncated":
        make_raw(path)
        truncate(path, 0.4)
    elif what == "folder":
        path.mkdir()
    elif what == "fifo":
        if os.name != "posix":
            pytest.skip("no FIFOs here")
        os.mkfifo(path)
    with pytest.raises(RawError) as here:
        read_raw(path)
    with pytest.raises(RawError) as there:
        decoder.decode(path)
    assert str(there.value) == str(here.value)


def test_an_impossible_size_costs_only_that_file(decoder, tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(100_000)
    with pytest.raises(LedError, match=r"a\.dng"):
        decoder.decode(path)
    make_raw(path)
    assert decoder.decode(path).photo.mosaic.shape == (128, 160)


def test_a_relative_path_is_one_of_the_folder_that_is_current_now(decoder, tmp_path, monkeypatch):
    for name, phase in (("one", "GBRG"), ("two", "BGGR")):
        (tmp_path / name).mkdir()
        make_raw(tmp_path / name / "a.nef", phase=phase)
        monkeypatch.chdir(tmp_path / name)
        photo = decoder.decode(Path("a.nef")).photo
        assert (photo.path, photo.phase.name) == (Path("a.nef"), phase)


@linux
@pytest.mark.parametrize("name", [b"new\nline.nef", b"not utf-8 \xff.nef", b"-rf.nef"])
def test_unusual_file_names_are_read(decoder, tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    make_raw(tmp_path / "a.nef")
    os.rename(tmp_path / "a.nef", path)
    assert decoder.decode(path).photo.path == path


@unix
@pytest.mark.parametrize("crash", ["abort", "segfault", "leaves", "rubbish"])
def test_a_crash_costs_only_that_file(actor, crash):
    with pytest.raises(RawError, match=f"^{crash}: LibRaw crashed: the file is damaged"):
        actor.decode(Path(crash))
    assert actor.decode(Path("name"))[0] == "name"


@unix
def test_a_killed_child_is_not_reported_as_a_damaged_file(actor):
    with pytest.raises(LedError, match="was killed: if memory is full, close") as caught:
        actor.decode(Path("killed"))
    assert not isinstance(caught.value, RawError)
    assert actor.decode(Path("name"))[0] == "name"


@pytest.mark.parametrize("hang", ["hang", "hang_in_c"])
def test_a_timeout_costs_only_that_file(hang):
    with One(act) as actor:
        _, before = actor.decode(Path("name"))
        actor.limit_s, enough = 0.2, actor.limit_s
        with pytest.raises(RawError, match=f"^{hang}: LibRaw timed out after 0 s"):
            actor.decode(Path(hang))
        actor.limit_s = enough
        _, after = actor.decode(Path("name"))
    assert before != after


@linux
def test_too_much_memory_costs_only_that_file(tmp_path):
    with One(act, memory_bytes=256 << 20) as actor:
        for name in ("greedy", "unsendable"):
            with pytest.raises(LedError, match=f"^{name}: takes more memory than a photo should"):
                actor.decode(Path(name))
        assert actor.decode(Path("array")).shape == (2048, 1024)


def test_the_same_child_serves_file_after_file(actor):
    first, second = (actor.decode(Path("name")) for _ in range(2))
    assert first == second


def test_a_result_that_does_not_fit_into_the_parent_costs_only_that_file(monkeypatch):
    def full(pipe):
        raise MemoryError

    with One(act) as actor:
        with monkeypatch.context() as patched:
            patched.setattr("ledcli.raw.decoder_child.receive", full)
            with pytest.raises(LedError, match=r"^array: needs more memory than there is"):
                actor.decode(Path("array"))
        assert actor.decode(Path("name"))[0] == "name"


@unix
def test_a_child_that_was_killed_while_idle_is_replaced(actor):
    _, before = actor.decode(Path("name"))
    os.kill(before, signal.SIGKILL)
    [child] = actor._free
    child._process.wait()
    assert actor.decode(Path("name"))[1] != before


@unix
def test_several_files_are_read_at_once_and_told_in_their_order(tmp_path):
    """The first file is read to its end only when the second one's reader has opened it."""
    os.mkfifo(tmp_path / "fifo")
    files = [tmp_path / name for name in ("reads_fifo", "writes_fifo", "bug", "name")]
    decoders = Decoders(2)
    found = list(decoders.each(act, files))
    decoders.close()
    assert found[:2] == ["told by another", "writes_fifo"]
    assert isinstance(found[2], LedError) and str(found[2]).startswith(f"{files[2]}: ")
    assert found[3][0] == "name"


def test_errors_keep_their_type_and_traceback(actor):
    with pytest.raises(MetadataError, match="says it itself") as caught:
        actor.decode(Path("told"))
    assert str(caught.value) == "told: says it itself"
    assert "jobs.py" in caught.value.__notes__[0]
    with pytest.raises(LedError, match=r"^bug: cannot be read: KeyError: 'no such key'"):
        actor.decode(Path("bug"))
    with pytest.raises(LedError, match="in two parts"):
        actor.decode(Path("odd_error"))


def test_arrays_arrive_whole_and_writable(actor):
    first, second = (actor.decode(Path("array")) for _ in range(2))
    first += 1
    assert np.array_equal(second, np.arange(1 << 21, dtype=np.uint16).reshape(2048, 1024))


def test_the_child_does_not_import_torch(actor):
    assert not {"torch", "typer", "rich"} & set(actor.decode(Path("modules")))


def test_threads_of_a_child_that_wait_take_no_core(actor):
    assert actor.decode(Path("spins")) == "0"


def test_prints_of_a_library_do_not_reach_the_messages(actor, capfd):
    assert actor.decode(Path("chatter")) == "chatter"
    assert capfd.readouterr() == ("", "")


@unix
def test_the_child_ignores_ctrl_c(actor):
    assert actor.decode(Path("interrupted")) == "interrupted"


@unix
def test_after_ctrl_c_the_next_answer_belongs_to_the_next_file(tmp_path, actor):
    main = threading.get_ident()
    os.mkfifo(tmp_path / "fifo")

    def interrupt():
        with open(tmp_path / "fifo", "rb"):
            signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        actor.decode(tmp_path / "hang_at_fifo")
    assert actor.decode(Path("name"))[0] == "name"


@unix
def test_closing_ends_a_waiting_decode(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    errors = []

    def wait():
        try:
            actor.decode(tmp_path / "hang_at_fifo")
        except LedError as error:
            errors.append(str(error))

    actor = One(act)
    waiting = threading.Thread(target=wait)
    waiting.start()
    with open(tmp_path / "fifo", "rb") as fifo:
        actor.close()
        assert fifo.read() == b""  # the process is gone
    waiting.join()
    assert errors == ["no more photos are read: the run was stopped"]


@unix
def test_who_stops_early_does_not_stop_the_others(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    decoders, found = Decoders(2), []
    stops = decoders.each(act, [Path("name"), Path("hang")])
    assert next(stops)[0] == "name"
    other = threading.Thread(
        target=lambda: found.extend(decoders.each(act, [tmp_path / "reads_fifo"]))
    )
    other.start()
    with open(tmp_path / "fifo", "w") as fifo:  # the other is reading
        stops.close()
        fifo.write("whole")
    other.join()
    decoders.close()
    assert found == ["whole"]


def test_after_a_stop_no_thread_of_it_reads_another_file(actor, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def late():
        begun.set()
        go.wait()
        return actor.decode(Path("name"))

    threads = ReaderThreads(actor, 1)
    found = threads.submit(late)
    begun.wait()
    threads.stop()
    go.set()
    with pytest.raises(LedError, match="the run was stopped"):
        found.result()
    assert actor.decode(Path("name"))[0] == "name"
    # Nor does a call that had begun when all was closed.
    with monkeypatch.context() as patched:
        patched.setattr("ledcli.raw.decoder._megabytes", lambda path: actor.close() or 0.0)
        with pytest.raises(LedError, match="the run was stopped"):
            actor.decode(Path("name"))


def test_a_decoder_can_be_closed_at_once_and_twice_and_used_again():
    with One(act) as actor:
        actor.start()
        actor.close()
        actor.close()
        assert actor.decode(Path("name"))[0] == "name"


def test_a_child_that_cannot_start_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", str(ROOT / "no such python"))
    with pytest.raises(LedError, match="cannot be started: no such file"):
        Decoders().start()


def test_a_child_that_dies_at_its_start_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with (
        One(decode_file) as decoder,
        pytest.raises(LedError, match="does not start: set LED_DEBUG=1"),
    ):
        decoder.decode(Path("a.nef"))


@unix
def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "hang_at_fifo")], cwd=ROOT
    )
    with open(tmp_path / "fifo", "rb") as fifo:
        parent.kill()
        parent.wait()
        assert fifo.read() == b""


_PARENT = """
import sys
from pathlib import Path
from ledcli.raw.decoder import decoders
from tests.raw.jobs import act
decoders.run(act, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", ["a script without a guard", "-c"])
def test_any_program_can_be_the_parent(tmp_path, how):
    make_raw(tmp_path / "a.nef")
    text = (
        "import sys; from pathlib import Path; "
        "from ledcli.raw.decoder import decode_file, decoders; "
        "photo = decoders.run(decode_file, Path('a.nef')).photo; "
        "print(photo.mosaic.shape, 'torch' in sys.modules)"
    )
    (tmp_path / "script.py").write_text(text)
    # What lies in the folder of the photos is no part of led.
    (tmp_path / "json.py").write_text("raise SystemExit('ran a stranger')")
    call = ["-P", "script.py"] if how != "-c" else ["-P", "-c", text]
    run = subprocess.run(
        [sys.executable, *call], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (run.stdout, run.stderr, run.returncode) == ("(128, 160) False\n", "", 0)
