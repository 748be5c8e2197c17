"""Files that change in steps: against a plain file in memory, and cut off anywhere."""

import os

import h5py
import numpy as np
import pytest

from deepgaze_jax.errors import InputError
from deepgaze_jax.many_images import stepwise_file
from deepgaze_jax.many_images.stepwise_file import StepwiseFile


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(stepwise_file, "_PAGE", 16)


def change(rng, *files):
    """The same change of several files; what they return must be the same, too."""
    what = rng.integers(5)
    if what == 0:
        size = int(rng.integers(0, 120))
        for file in files:
            file.truncate(size)
        return
    place = int(rng.integers(0, 100))
    data = rng.bytes(int(rng.integers(0, 50)))
    found = []
    for file in files:
        file.seek(place)
        seen = file.read(20) if what == 1 else file.write(data)
        found.append((seen, file.tell(), file.seek(0, os.SEEK_END)))
    assert len(set(found)) == 1


def content(path):
    file = StepwiseFile(path)
    data = file.read()
    file.close()
    assert data == path.read_bytes()
    return data


@pytest.mark.parametrize("seed", range(20))
def test_like_any_file(seed, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "a"
    plain = open(tmp_path / "plain", "w+b", buffering=0)
    ours, committed = StepwiseFile(path), b""
    for _ in range(60):
        change(rng, plain, ours)
        ours.seek(0)
        content_now = (tmp_path / "plain").read_bytes()
        assert ours.read() == content_now
        if rng.integers(6) == 0:
            ours.commit()
            committed = content_now
        assert path.read_bytes() == committed
    ours.close()
    plain.close()
    assert content(path) == committed


class Cut(Exception):
    """The end of the process."""


@pytest.mark.parametrize("seed", range(4))
def test_a_step_that_is_cut_off_anywhere(seed, tmp_path, monkeypatch):
    path = tmp_path / "a"
    for n_calls in range(40):
        rng = np.random.default_rng(seed)
        path.unlink(missing_ok=True)
        file = StepwiseFile(path)
        file.write(rng.bytes(90))
        file.commit()
        before = path.read_bytes()
        for _ in range(8):
            change(rng, file)
        file.seek(0)
        after = file.read()
        left = n_calls

        def counted(function):
            def call(*arguments, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    raise Cut
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            # Every call that changes something on the disk.
            patch.setattr(os, "replace", counted(os.replace))
            patch.setattr(StepwiseFile, "_store", counted(StepwiseFile._store))
            patch.setattr(type(path), "unlink", counted(type(path).unlink))
            try:
                file.commit()
            except Cut:
                pass
        file.close()
        found = content(path)
        assert found in (before, after)
        if left >= 0:
            assert found == after
            return
    raise AssertionError("the step never ended")


def test_hdf5_lives_in_it(tmp_path):
    path = tmp_path / "a.h5"
    rng = np.random.default_rng(0)
    arrays = {f"g{k % 3}/{k}": rng.random((30, 40)) for k in range(30)}
    file = StepwiseFile(path)
    hdf5 = h5py.File(file, "w")
    for k, (name, array) in enumerate(arrays.items(), start=1):
        hdf5.create_dataset(name, data=array, compression="gzip")
        if k % 10 == 0:
            hdf5.flush()
            file.commit()
            with h5py.File(path) as read:
                for known in list(arrays)[:k]:
                    np.testing.assert_array_equal(read[known], arrays[known])
    hdf5.close()
    file.close()


def test_another_file_in_the_place_of_the_saved_pages(tmp_path):
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / ".a.undo").write_bytes(b"notes")
    with pytest.raises(InputError, match="was not written by this program"):
        StepwiseFile(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"data"
