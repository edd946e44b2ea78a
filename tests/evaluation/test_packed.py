"""Packed frames: what is read, and what is refused in one line."""

import numpy as np
import pytest

from ledcli.errors import RawError
from ledcli.evaluation.datasets.packed import read_packed

LEVELS = {"black_level": np.full((4, 1, 1), 512), "white_level": np.full((4, 1, 1), 16383)}


def save(tmp_path, name="10003_00_0.1s.ARW.npz", **parts):
    path = tmp_path / name
    with path.open("wb") as file:
        np.savez(file, **parts)
    return path


def planes(value=512, dtype=np.uint16):
    return np.full((4, 20, 24), value, dtype)


def test_npz_is_normalised_by_its_own_levels(tmp_path):
    image = planes()
    image[2] = 16383
    frame = read_packed(
        save(tmp_path, im=image, **LEVELS, wb=np.array([4.0, 2.0, 3.0, 0.0]), ccm=np.eye(3))
    )
    assert frame.planes.dtype == np.float32
    assert (frame.planes[[0, 1, 3]] == 0).all() and (frame.planes[2] == 1).all()
    assert frame.white_balance.tolist() == [2, 1, 1.5]
    assert (frame.to_srgb == np.eye(3)).all()


def test_npz_without_colours_is_read(tmp_path):
    frame = read_packed(save(tmp_path, im=planes(), **LEVELS))
    assert frame.white_balance is None and frame.to_srgb is None


@pytest.mark.parametrize("shape", [(4, 20, 24), (20, 24, 4)])
def test_npy_of_normalised_floats(tmp_path, shape):
    path = tmp_path / "a.npy"
    np.save(path, np.full(shape, 0.25))
    assert (read_packed(path).planes == 0.25).all()
    assert read_packed(path).planes.shape == (4, 20, 24)


def bad_npy(array):
    def write(tmp_path):
        path = tmp_path / "a.npy"
        np.save(path, array, allow_pickle=True)
        return path

    return write


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (bad_npy(planes()), "is in DN"),
        (bad_npy(planes(600.0, np.float32)), "is in DN"),
        (bad_npy(np.zeros((40, 48), np.float32)), "not \\(4, h, w\\)"),
        (bad_npy(np.zeros((4, 8, 24), np.float32)), "too small"),
        (bad_npy(planes(np.nan, np.float32)), "not numbers"),
        (bad_npy(np.array([{}])), "without pickles"),
        (lambda at: save(at, im=planes()), "no 'black_level'"),
        (lambda at: save(at, im=planes(), black_level=512, white_level=512), "not above"),
        (lambda at: save(at, im=planes(), black_level=np.zeros(3), white_level=9), "4 planes"),
        (lambda at: save(at, im=planes(), **LEVELS | {"white_level": np.array(None)}), "pickles"),
    ],
)
def test_unknown_arrays_are_refused_in_one_line(tmp_path, write, why):
    path = write(tmp_path)
    with pytest.raises(RawError, match=why) as caught:
        read_packed(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_an_array_is_refused(tmp_path):
    for name, data in (("a.npy", b"no array"), ("b.npz", b"PK\x03\x04 cut"), ("c.npy", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RawError, match=name):
            read_packed(tmp_path / name)
