"""A `.pth` that is more, less or other than tensors is refused in one line, and nothing is run."""

import collections
import io
import itertools
import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from ledcli.errors import ModelError
from ledcli.zoo import checkpoint_file
from ledcli.zoo.checkpoint_file import read_sections

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


class Runs:
    """What a hostile pickle does: call whatever it names."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


def refused(path):
    with pytest.raises(ModelError) as caught:
        read_sections(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def rewritten(path, *, compression=zipfile.ZIP_STORED, extra=(), **members):
    """Write the zip again with some members changed, by the last part of their names."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in content.items():
            new.writestr(name, members.get(name.rpartition("/")[2].replace(".", "_"), data))
        for name, data in extra:
            new.writestr(name, data)


def test_dictionaries_of_tensors_are_read(path):
    torch.save({"params": collections.OrderedDict(TENSORS), "iter": 3, "x": torch.ones(1)}, path)
    sections = read_sections(path)
    assert set(sections) == {"", "params"}
    torch.testing.assert_close(sections["params"], TENSORS)
    assert list(sections[""]) == ["x"]


def test_numpy_numbers_beside_the_tensors_are_ignored(path):
    numbers = {"psnr": np.float64(38.5), "iter": np.int64(3), "half": np.float16(1)}
    torch.save({"params": TENSORS, "best": numbers, **numbers}, path)
    assert set(read_sections(path)) == {"params"}


def test_a_pickle_of_too_many_steps_is_refused_before_it_is_looked_through(path, monkeypatch):
    def steps(file):
        yield from itertools.repeat(mark, checkpoint_file.MAX_OPCODES + 2)
        raise AssertionError("looked through to its end")

    torch.save({"params": TENSORS}, path)
    mark = next(pickletools.genops(b"(."))
    monkeypatch.setattr(checkpoint_file.pickletools, "genops", steps)
    assert "a damaged pickle" in refused(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_wants_more_is_refused_by_name_and_not_run(path, tmp_path, protocol):
    made = tmp_path / "made"
    hostile = {"params": TENSORS, "x": Runs(os.mkdir, str(made))}
    torch.save(hostile, path, pickle_protocol=protocol)
    assert f"contains '{os.mkdir.__module__}.mkdir'" in refused(path)
    path.write_bytes(pickle.dumps(hostile["x"], protocol))
    assert "could run a program" in refused(path)
    torch.save(hostile, path, _use_new_zipfile_serialization=False)
    assert "could run a program" in refused(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Runs(bytearray, 1 << 40), "builtins.bytearray"),  # torch itself would allow it
        (torch.nn.Conv2d(1, 1, 1), "torch.nn.modules.conv.Conv2d"),
        (Runs(eval, "1"), "builtins.eval"),
    ],
)
def test_the_name_that_it_wants_is_said(path, thing, name):
    torch.save({"params": TENSORS, "x": thing}, path, pickle_protocol=2)
    # Protocol 2 says it as Python 2 did.
    assert name.replace("builtins", "__builtin__") in refused(path)


def test_a_pickle_protocol_that_torch_does_not_read_is_refused(path):
    torch.save({"params": TENSORS}, path, pickle_protocol=4)
    assert "torch cannot read it" in refused(path)


def test_old_formats_are_named_with_a_way_out(path):
    torch.save({"params": TENSORS}, path, _use_new_zipfile_serialization=False)
    assert "before 1.6" in refused(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "bare pickle" in refused(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    assert "TorchScript" in refused(path)


def test_what_is_no_checkpoint_is_refused(path):
    assert "no such file" in refused(path)
    path.write_bytes(b"")
    assert "is empty" in refused(path)
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    assert "not a torch checkpoint" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/a.jpg", b"1234")
    assert "not a torch checkpoint" in refused(path)
    torch.save([torch.ones(1)], path)
    assert "contains a list" in refused(path)
    torch.save({"iter": 3, "params": {}}, path)
    assert "no tensors" in refused(path)
    path.unlink()
    path.mkdir()
    assert refused(path)


def test_every_cut_and_flipped_byte_is_noticed(path):
    torch.save({"params": TENSORS}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refused(path)
    pickled = whole.index(b"\x80\x02")
    for place in (pickled + 5, pickled + 60, whole.index(struct.pack("<f", 5.0))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert "is damaged" in refused(path)


def test_a_zip_bomb_is_refused_before_it_unpacks(path):
    torch.save({"params": TENSORS}, path)
    rewritten(
        path, compression=zipfile.ZIP_DEFLATED, **{"data_pkl": b"\x80\x02" + b"0" * (1 << 24)}
    )
    assert "expands to more" in refused(path)
    torch.save({"params": TENSORS}, path)
    with zipfile.ZipFile(path) as archive:
        pickled = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
        twice = archive.read(pickled)
    with pytest.warns(UserWarning, match="Duplicate"):
        rewritten(path, extra=[(pickled.filename, twice)])
    assert "not a torch checkpoint" in refused(path)


def test_members_that_overlap_are_refused(path):
    torch.save({"params": {"a": torch.zeros(100_000)}}, path)
    whole = path.read_bytes()
    # Two entries of the central directory for the one stored tensor.
    entry = next(
        m for m in re.finditer(rb"PK\x01\x02", whole) if b"/data/0" in whole[m.end() : m.end() + 60]
    )
    start = entry.start()
    name, extra, comment = struct.unpack("<HHH", whole[start + 28 : start + 34])
    copy = whole[start : start + 46 + name + extra + comment].replace(b"/data/0", b"/data/1")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        directory, count = archive.start_dir, len(archive.infolist())
    end = whole.rindex(b"PK\x05\x06")
    zip64 = whole.find(b"PK\x06\x06", start)
    rest = whole[start : end if zip64 < 0 else zip64]
    middle = whole[directory:start] + copy + rest
    tail = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, count + 1, count + 1, len(middle), directory, 0
    )
    path.write_bytes(whole[:directory] + middle + tail)
    assert len(zipfile.ZipFile(path).infolist()) == count + 1
    assert "expands to more" in refused(path)


def test_a_tensor_that_claims_more_than_the_file_has_is_refused(path):
    torch.save({"params": {"a": torch.zeros(1).expand(1 << 20, 1 << 20)}}, path)
    assert "'a' claims more values" in refused(path)
    shared = torch.zeros(1 << 10)
    torch.save({"params": {"a": torch.as_strided(shared, (512, 512), (1, 1))}}, path)
    assert "'a' claims more values" in refused(path)


def test_sizes_are_bounded(path, monkeypatch):
    torch.save({"params": TENSORS}, path)
    monkeypatch.setattr(checkpoint_file, "MAX_PICKLE_BYTES", 16)
    assert "expands to more" in refused(path)
    monkeypatch.setattr(checkpoint_file, "MAX_BYTES", 100)
    assert "a checkpoint has" in refused(path)
