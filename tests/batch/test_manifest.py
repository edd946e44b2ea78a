import errno
import json
import os
import shutil
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledcli.batch import journal
from ledcli.batch import manifest as module
from ledcli.batch.folders import folder_lock
from ledcli.batch.journal import Stamp
from ledcli.batch.manifest import FileState, Manifest, ManifestEntry, Manifests
from ledcli.errors import OutputError
from ledcli.output import atomic
from ledcli.output.atomic import atomic_write

MADE = {"ratio": 2.0, "sha256": "ab", "sizes": [1, 2]}
PHOTO = {"make": "Led", "iso": 800}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    Path("raw/a.CR2").write_bytes(b"a raw")
    Path("out").mkdir()
    return Path("out")


def write(manifest, name, data=b"data", made=MADE, source="raw/a.CR2", finish=None):
    """Write an output as a run does."""
    path = manifest.root / name
    stamp = Stamp.of(os.stat(source))
    atomic_write(
        path,
        data,
        finish=finish,
        before_rename=lambda state: manifest.record(
            manifest.new_entry(path, Path(source), stamp, made, PHOTO, state)
        ),
    )
    return path


def lines(root):
    return (root / ".led" / "manifest.jsonl").read_bytes().split(b"\n")[:-1]


def test_a_written_output_is_known_again(root):
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng")
        assert manifest.look(path)[0] is FileState.CURRENT
    again = Manifest(root)
    assert again.look(path)[0] is FileState.CURRENT
    entry = again.look(path)[1]
    assert entry.made_with == MADE and entry.photo == PHOTO
    assert entry.source == "../raw/a.CR2"
    assert entry.source_stamp == Stamp.of(os.stat("raw/a.CR2"))
    assert entry.output_stamp == Stamp.of(os.stat(path))


def test_what_the_file_under_a_name_is(root):
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng")
        assert manifest.look(root / "b.dng")[0] is FileState.ABSENT
        (root / "b.dng").write_bytes(b"a photographer's")
        assert manifest.look(root / "b.dng")[0] is FileState.FOREIGN
        assert manifest.look(root / "b.dng")[1] is None
        path.write_bytes(b"edited")
        assert manifest.look(path)[0] is FileState.EDITED
        path.unlink()
        assert manifest.look(path)[0] is FileState.ABSENT
        path.symlink_to("b.dng")
        assert manifest.look(path)[0] is FileState.EDITED
        path.unlink()
        path.mkdir()
        assert manifest.look(path)[0] is FileState.EDITED


def test_killed_between_line_and_name_the_old_file_is_still_ours(root):
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng", b"first")
        late = manifest.root / "late"
        late.write_bytes(b"second, that never got its name")
        entry = manifest.look(path)[1]
        manifest.record(
            ManifestEntry(
                entry.output, entry.source, entry.source_stamp, {}, {}, Stamp.of(late.stat())
            )
        )
    again = Manifest(root)
    assert again.look(path)[0] is FileState.CURRENT
    assert again.look(path)[1] == entry
    path.unlink()
    assert again.look(path)[0] is FileState.ABSENT


def test_no_line_no_file(root, monkeypatch):
    """A manifest that cannot be written keeps the output from getting its name."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with closing(Manifest(root)) as manifest:
        write(manifest, "a.dng")
        monkeypatch.setattr(module.os, "write", full)
        with pytest.raises(OutputError, match=r"manifest\.jsonl: .*disk is full"):
            write(manifest, "b.dng")
    assert sorted(os.listdir(root)) == [".led", "a.dng"]


def test_after_a_line_half_written_the_next_is_whole(root, monkeypatch):
    real = os.write

    def half(number, data):
        real(number, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with closing(Manifest(root)) as manifest:
        monkeypatch.setattr(module.os, "write", half)
        with pytest.raises(OutputError):
            write(manifest, "a.dng")
        monkeypatch.setattr(module.os, "write", real)
        write(manifest, "b.dng")
    again = Manifest(root)
    assert again.look(root / "b.dng")[0] is FileState.CURRENT
    assert again.look(root / "a.dng")[0] is FileState.ABSENT


def test_a_line_may_be_written_in_many_parts(root, monkeypatch):
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda number, data: real(number, data[:7]))
    with closing(Manifest(root)) as manifest:
        write(manifest, "a.dng")
        write(manifest, "b.dng")
    again = Manifest(root)
    assert [again.look(root / name)[0] for name in ("a.dng", "b.dng")] == [FileState.CURRENT] * 2


@pytest.mark.parametrize("length", [0, 1, 10, 60, 150, -1])
def test_a_torn_last_line_costs_that_line_alone(root, length):
    with closing(Manifest(root)) as manifest:
        first, second = write(manifest, "a.dng"), write(manifest, "b.dng")
    kept, torn = lines(root)
    manifest.path.write_bytes(kept + b"\n" + torn[:length])
    with closing(Manifest(root)) as manifest:
        assert manifest.look(first)[0] is FileState.CURRENT
        assert manifest.look(second)[0] is FileState.FOREIGN
        third = write(manifest, "c.dng")
    again = Manifest(root)
    assert [again.look(p)[0] for p in (first, third)] == [FileState.CURRENT] * 2


DAMAGED = [
    b"\0" * 500,
    b"{}",
    b"[1]",
    b"null",
    b"[" * 100_000,
    b'{"v":1,"output":',
    b'{"v":1,"output":"a.dng"}',
    b'{"v":1,"output":7}',
    b'{"v":1,"output":"a.dng","size":"x","mtime_ns":[],"source":{}}',
    b'{"v":1,"output":"a.dng",' + b"[" * 100_000 + b"}",
    b'{"v":1,"output":"a.dng","size":' + b"9" * 10_000 + b"}",
    b'{"v":2,"output":"a.dng"}',
    b'{"v":"1","output":"a.dng"}',
    b"\xff\xfe\x80",
    b"\r",
]


def test_damaged_lines_are_ignored(root):
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng")
    (good,) = lines(root)
    for damaged in DAMAGED:
        for data in (damaged + b"\n" + good + b"\n", good + b"\n" + damaged + b"\n"):
            manifest.path.write_bytes(data)
            again = Manifest(root)
            assert again.look(path)[0] is FileState.CURRENT
            assert again.look(path)[1].made_with == MADE


@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_no_manifest_is_a_traceback(tmp_path_factory, noise, where, good_start):
    root = tmp_path_factory.getbasetemp() / "noise"
    (root / ".led").mkdir(parents=True, exist_ok=True)
    line = ManifestEntry("a", "b", Stamp(1, 2), MADE, PHOTO, Stamp(3, 4)).line().encode()
    data = line[:where] + noise + line[where:] if good_start else noise
    (root / ".led" / "manifest.jsonl").write_bytes(data)
    manifest = Manifest(root)
    manifest.look(root / "a")[1]
    manifest.look(root / "a")[0]


def test_names_of_no_encoding_and_with_newlines(root):
    names = ["a\nb.dng", os.fsdecode(b"caf\xe9.dng"), 'quote".dng', "naïve\u2028.dng", "\\.dng"]
    with closing(Manifest(root)) as manifest:
        for name in names:
            source = f"raw/{name}.CR2"
            Path(source).write_bytes(b"raw")
            write(manifest, name, source=source)
    again = Manifest(root)
    assert len(lines(root)) == len(names)
    for name in names:
        assert again.look(root / name)[0] is FileState.CURRENT
        assert again.look(root / name)[1].source == f"../raw/{name}.CR2"


def test_outputs_in_subfolders_keep_their_place(root):
    (root / "1").mkdir()
    with closing(Manifest(root)) as manifest:
        write(manifest, "1/a.dng")
    assert json.loads(lines(root)[0])["output"] == "1/a.dng"
    # The whole shoot moves.
    os.rename("out", "elsewhere")
    moved = Path("elsewhere")
    assert Manifest(moved).look(moved / "1" / "a.dng")[0] is FileState.CURRENT


def test_a_time_rounded_by_the_file_system_is_the_same_time():
    was = Stamp(10, 1_700_000_001_234_567_891)
    for now in (
        1_700_000_001_234_567_800,  # NTFS
        1_700_000_001_230_000_000,  # exFAT
        1_700_000_001_000_000_000,
        1_700_000_000_000_000_000,  # FAT
        1_700_000_002_000_000_000,
    ):
        assert was.matches(Stamp(10, now))
        assert not was.matches(Stamp(11, now))
    for now in (1_700_000_001_234_567_892, 1_700_000_001_734_567_891, 1_700_000_004_000_000_000):
        assert not was.matches(Stamp(10, now))


def test_a_long_manifest_is_made_short_and_says_the_same(root, monkeypatch):
    monkeypatch.setattr(module, "COMPACT_FROM", 20)
    with closing(Manifest(root)) as manifest:
        (root / ".led").mkdir()
        paths = [write(manifest, f"{i % 3}.dng", str(i).encode() * 9) for i in range(40)]
        killed = write(manifest, "k.dng", b"first")
        entry = manifest.look(killed)[1]
        for _ in range(3):  # three runs in a row were killed before the file got its name
            manifest.record(
                ManifestEntry(
                    entry.output, entry.source, entry.source_stamp, MADE, PHOTO, Stamp(1, 1)
                )
            )
        paths[0].write_bytes(b"edited")
    newer = b'{"v":2,"what":"another version\'s"}'
    with manifest.path.open("ab") as file:
        file.write(newer + b"\n\0\0\n")
    with closing(Manifest(root)) as manifest:
        manifest.begin(exclusive=True)
        write(manifest, "new.dng")
    assert len(lines(root)) <= 8
    assert newer in lines(root)
    again = Manifest(root)
    expected = {"0": "EDITED", "1": "CURRENT", "2": "CURRENT", "k": "CURRENT", "new": "CURRENT"}
    assert {n: again.look(root / f"{n}.dng")[0].name for n in expected} == expected
    assert sorted(os.listdir(root / ".led")) == ["manifest.jsonl"]


def test_without_a_lock_nothing_is_made_shorter_and_every_process_has_its_own_file(
    root, monkeypatch
):
    monkeypatch.setattr(module, "COMPACT_FROM", 4)
    with closing(Manifest(root)) as manifest:
        for _ in range(9):
            write(manifest, "a.dng")
    for process in ("host_1-7-ab", "host_2-7-cd"):
        monkeypatch.setattr(module, "_own_name", lambda process=process: process)
        for shard in (None, "0-of-2", None):
            with closing(Manifest(root)) as manifest:
                manifest.begin(shard, exclusive=False)
                write(manifest, f"{shard}-{process}.dng")
    assert len(lines(root)) == 9 and len(os.listdir(root / ".led")) == 5
    again = Manifest(root)
    outputs = [path.name for path in root.glob("*.dng")]
    assert len(outputs) == 5
    assert {again.look(root / name)[0] for name in outputs} == {FileState.CURRENT}


@pytest.fixture
def several(root, monkeypatch):
    """Manifests of two shards and of four processes without a lock; returns those that may run."""
    for i in range(2):
        with closing(Manifest(root)) as manifest:
            manifest.begin(f"{i}-of-2", exclusive=True)
            write(manifest, f"{i}.dng")
    names = atomic.unique_name(), "elsewhere-7-0a", "elsewhere-8-0b", f"{atomic._host()}-99-0c"
    for name in names:
        monkeypatch.setattr(module, "_own_name", lambda name=name: name)
        with closing(Manifest(root)) as manifest:
            manifest.begin("0-of-2" if name == names[1] else None, exclusive=False)
            write(manifest, f"{name}.dng")
    old = time.time() - module.PROCESS_MAX_AGE_S
    os.utime(root / ".led" / f"manifest-{names[2]}.jsonl", (old, old))
    exists = atomic.process_exists
    monkeypatch.setattr(atomic, "process_exists", lambda pid: pid != 99 and exists(pid))
    return {f"manifest-{names[0]}.jsonl", f"manifest-0-of-2-{names[1]}.jsonl"}


def all_known(root):
    again, outputs = Manifest(root), list(root.glob("*.dng"))
    assert len(outputs) >= 6
    return {again.look(path)[0] for path in outputs} == {FileState.CURRENT}


def whole_run(root):
    with closing(Manifest(root)) as manifest:
        manifest.begin(exclusive=True)
        write(manifest, "whole.dng")


def test_a_whole_run_takes_the_lines_of_shards_and_ended_processes_into_its_own_file(root, several):
    whole_run(root)
    assert {*os.listdir(root / ".led")} == {*several, "manifest.jsonl"}
    assert len(lines(root)) == 7 and all_known(root)
    whole_run(root)
    assert {*os.listdir(root / ".led")} == {*several, "manifest.jsonl"}
    assert len(lines(root)) == 8 and all_known(root)


def test_lines_of_a_manifest_that_stays_are_taken_once(root, several):
    newer = b'{"v":2,"what":"another version\'s"}'
    with (root / ".led" / min(several)).open("ab") as file:
        file.write(newer + b"\n")
    for shard in range(3):
        with closing(Manifest(root)) as manifest:
            manifest.begin(f"{shard}-of-3", exclusive=True)
            write(manifest, f"{shard}.dng")
        whole_run(root)
    assert lines(root).count(newer) == 1


def test_killed_while_it_takes_the_lines_of_others_a_run_loses_none(root, several, monkeypatch):
    unlink, removed = os.unlink, []

    def killed(path, *_):
        if ".jsonl" in str(path) and len(removed) == 2:
            raise KeyboardInterrupt
        unlink(path)
        removed.append(path)

    for point in ("replace", "unlink"):
        with monkeypatch.context() as patched:
            patched.setattr(module.os, point, killed if point == "unlink" else raises)
            with pytest.raises(KeyboardInterrupt):
                whole_run(root)
        assert all_known(root)
    assert len(os.listdir(root / ".led")) == 5
    whole_run(root)
    assert {*os.listdir(root / ".led")} == {*several, "manifest.jsonl"} and all_known(root)


def raises(*_):
    raise KeyboardInterrupt


def test_a_file_that_got_a_line_meanwhile_stays(root, several):
    with closing(Manifest(root)) as manifest:
        shard = root / ".led" / "manifest-1-of-2.jsonl"
        with shard.open("ab") as file:
            file.write(b"another\n")
        manifest.begin(exclusive=True)
        write(manifest, "whole.dng")
    assert shard.exists() and not (root / ".led" / "manifest-0-of-2.jsonl").exists()
    assert all_known(root)


def test_the_latest_line_is_that_of_the_latest_file_whichever_manifest_has_it(root):
    for shard, ratio in (("1-of-2", 1.0), ("0-of-2", 2.0)):
        with closing(Manifest(root)) as manifest:
            manifest.begin(shard, exclusive=True)
            date = lambda part, when=ratio: os.utime(part, (when, when))  # noqa: E731
            path = write(manifest, "a.dng", made={"ratio": ratio}, finish=date)
    path.write_bytes(b"edited")
    again = Manifest(root)
    assert again.look(path)[0] is FileState.EDITED
    assert again.look(path)[1].made_with == {"ratio": 2.0}


@pytest.mark.skipif(os.name == "nt", reason="an open file is not replaced there")
@pytest.mark.parametrize("how", ["replaced", "removed", "state folder removed"])
def test_a_manifest_that_was_replaced_is_opened_anew(root, how):
    with closing(Manifest(root)) as manifest:
        paths = [write(manifest, "a.dng"), write(manifest, "b.dng")]
        kept = manifest.path.read_bytes().splitlines(keepends=True)[0]
        if how == "replaced":  # by one that knows of the first, and ends in a torn line
            atomic_write(manifest.path, kept + b'{"v":1')
        elif how == "removed":
            manifest.path.unlink()
        else:
            shutil.rmtree(root / ".led")
        paths.append(write(manifest, "c.dng"))
    again = Manifest(root)
    assert [again.look(path)[0] for path in paths] == [FileState.CURRENT] * 3
    assert len(lines(root)) == 3 + (how == "replaced")


@pytest.mark.skipif(not hasattr(errno, "ESTALE"), reason="this system has no such error")
def test_a_network_drive_that_tells_late_of_a_replaced_manifest(root, monkeypatch):
    """The line that was written to the old file is not in the new one."""
    fsync, stale = os.fsync, []

    def fsync_(number):
        if os.fstat(number).st_nlink == 0 and not stale:
            stale.append(number)
            raise OSError(errno.ESTALE, "Stale file handle")
        fsync(number)

    with closing(Manifest(root)) as manifest:
        paths = [write(manifest, "a.dng")]
        manifest.path.unlink()
        monkeypatch.setattr(journal.Journal, "_has_its_name", lambda *_: True)
        monkeypatch.setattr(journal.os, "fsync", fsync_)
        paths.append(write(manifest, "b.dng"))
    again = Manifest(root)
    assert stale and len(lines(root)) == 2
    assert [again.look(path)[0] for path in paths] == [FileState.CURRENT] * 2


def test_the_state_folder_that_another_run_removes_is_made_again(root, monkeypatch):
    opened, removed = journal.open_no_link, []

    def open_no_link(path, flags):
        if not removed:
            removed.append(path)
            path.parent.rmdir()
        return opened(path, flags)

    monkeypatch.setattr(journal, "open_no_link", open_no_link)
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng")
    assert removed and Manifest(root).look(path)[0] is FileState.CURRENT


def test_reading_writes_nothing(root):
    manifest = Manifest(root)
    manifest.look(root / "a.dng")[0]
    Manifest(root / "not there").look(root / "not there" / "a.dng")[0]
    assert os.listdir(root) == [] and not (root / "not there").exists()


def test_an_error_names_what_is_not_a_manifest(root):
    (root / ".led" / "manifest.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"manifest\.jsonl: not a manifest"):
        Manifest(root)


def test_too_much_in_all_is_no_fault_of_one_file(root, monkeypatch):
    (root / ".led").mkdir(parents=True)
    for name in ("manifest.jsonl", "manifest-0-of-2.jsonl"):
        (root / ".led" / name).write_text("#" * 60)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    Manifest(root)
    monkeypatch.setattr(module, "MAX_ALL_BYTES", 100)
    with pytest.raises(OutputError, match=r"\.led: manifests too large; use another --out"):
        Manifest(root)
    monkeypatch.setattr(module, "MAX_BYTES", 50)
    with pytest.raises(OutputError, match=r"\.jsonl: not a manifest"):
        Manifest(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_its_place_does_not_hang_the_run(root):
    (root / ".led").mkdir()
    os.mkfifo(root / ".led" / "manifest.jsonl")
    with pytest.raises(OutputError, match="remove it"):
        Manifest(root)


def test_a_state_folder_that_is_a_file_is_named(root):
    (root / ".led").write_bytes(b"")
    with (
        closing(Manifest(root)) as manifest,
        pytest.raises(OutputError, match=r"out/\.led: .*a file"),
    ):
        write(manifest, "a.dng")


def test_a_name_that_is_too_long_is_an_error_of_one_line(root):
    with pytest.raises(OutputError, match="too long"):
        Manifest(root).look(root / ("x" * 300 + ".dng"))[0]


def test_once_closed_nothing_is_recorded(root):
    """The thread of a run that was broken off must not write when the lock is gone."""
    manifest = Manifest(root)
    write(manifest, "a.dng")
    manifest.close()
    before = lines(root)
    with pytest.raises(OutputError, match="interrupted"):
        write(manifest, "b.dng")
    assert lines(root) == before and not (root / "b.dng").exists()
    manifest.close()


@pytest.mark.skipif(os.name == "nt", reason="an open file's folder is not removed there")
@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_was_removed_or_replaced_ends_the_run(root, again):
    with closing(Manifest(root)) as manifest:
        write(manifest, "a.dng")
        shutil.rmtree(root)
        root.mkdir()
        if again:
            with closing(Manifest(root)) as another:
                write(another, "c.dng")
        with pytest.raises(OutputError, match="removed or replaced during the run") as found:
            write(manifest, "b.dng")
    cause = found.value.__cause__
    assert isinstance(cause, OSError) and cause.errno == errno.ENODEV
    assert not (root / "b.dng").exists()
    assert (Manifest(root).look(root / "c.dng")[1] is not None) == again


def test_a_manifest_is_loaded_again_only_when_its_file_has_changed(root):
    manifests = Manifests()
    path = root / "a.dng"
    assert manifests[root].look(path)[0] is FileState.ABSENT
    assert not manifests.refresh()
    with closing(Manifest(root)) as another_run:
        write(another_run, "a.dng")
    assert manifests[root].look(path)[0] is FileState.FOREIGN
    assert manifests.refresh()
    assert manifests[root].look(path)[0] is FileState.CURRENT
    assert not manifests.refresh()


def test_a_line_without_end_is_not_read_into_memory(root):
    with closing(Manifest(root)) as manifest:
        path = write(manifest, "a.dng")
    good = manifest.path.read_bytes()
    with open(manifest.path, "ab") as file:
        file.truncate(200 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + good)
    tracemalloc.start()
    again = Manifest(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    assert again.look(path)[1] is not None
    assert len(again._lines["a.dng"]) == 2


@pytest.mark.parametrize("link", [".led", ".led/manifest.jsonl", ".led/lock"])
def test_a_symbolic_link_among_the_state_is_refused(root, tmp_path_factory, link):
    target = tmp_path_factory.mktemp("elsewhere")
    if link != ".led":
        (root / ".led").mkdir()
        target = target / "file"
        target.write_text("mine")
    (root / link).symlink_to(target)
    with pytest.raises(OutputError, match=r"remove it$"), folder_lock(root, print, lambda: False):
        Manifest(root)
    assert target.is_dir() or target.read_text() == "mine"
    assert not target.is_dir() or not any(target.iterdir())


@pytest.mark.parametrize(
    ("minutes", "extra_ns", "same"),
    [
        (60, 0, True),
        (-15, 0, True),
        (26 * 60, 0, True),
        (27 * 60, 0, False),
        (10, 0, False),
        (60, 1, False),
    ],
)
def test_a_file_whose_time_a_change_of_zone_shifted_is_unchanged(minutes, extra_ns, same):
    written = 1_700_000_000_123_456_789
    now = written + minutes * 60 * 10**9 + extra_ns
    assert Stamp(5, written).matches(Stamp(5, now)) is same
    assert not Stamp(5, written).matches(Stamp(6, now))
