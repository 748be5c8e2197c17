"""Data sets written as pysaliency reads them: the layout, and there and back."""

import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.pysaliency_files import write_pysaliency
from deepgaze_jax.errors import DataError

# image, subject, fixation_index, x, y, duration_ms; scanpaths are mixed.
ROWS = [
    ("b.png", "zoe", 0, 1.5, 2.5, 180),
    ("a/one.jpg", "adam", 1, 10.0, 5.0, 250),
    ("b.png", "zoe", 1, 3.25, 4.5, 210.5),
    ("b.png", "adam", 0, 0.0, 0.0, ""),
    ("a/one.jpg", "adam", 2, 19.0, 9.0, 333.3),
    ("b.png", "adam", 1, 15.75, 11.0, 95),
    ("b.png", "adam", 3, 7.0, 8.0, 120),
]


def picture(width, height, mode, kind, orientation=None):
    rng = np.random.default_rng(width)
    shape = (height, width) if mode == "L" else (height, width, 3)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(buffer, format=kind, exif=exif)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A data set of three pictures: RGB, grey, and one that is stored turned."""
    root = tmp_path / "mine"
    (root / "images/a").mkdir(parents=True)
    (root / "images/a/one.jpg").write_bytes(picture(20, 10, "RGB", "JPEG"))
    (root / "images/b.png").write_bytes(picture(16, 12, "L", "PNG"))
    (root / "images/turned.jpg").write_bytes(picture(14, 8, "RGB", "JPEG", 6))
    (root / "images.csv").write_text(
        "image,width,height,pixels_per_dva\nb.png,16,12,30\na/one.jpg,20,10,25.5\n"
        "turned.jpg,8,14,30\n"
    )
    lines = [",".join(map(str, row)) for row in ROWS]
    header = "image,subject,fixation_index,x,y,duration_ms"
    (root / "fixations.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def test_layout(folder, tmp_path):
    out = write_pysaliency(read_folder(folder), tmp_path / "new" / "out")
    with h5py.File(out / "stimuli.hdf5") as file:
        assert file.attrs["type"] == b"FileStimuli"
        assert file.attrs["version"] == b"2.1"
        assert file.attrs["size"] == 3
        names = [name.decode() for name in file["filenames"][()]]
        shapes = [shape.tolist() for shape in file["shapes"][()]]
        assert json.loads(file.attrs["__attributes__"]) == ["pixels_per_dva"]
        assert file["pixels_per_dva"][()].tolist() == [30, 25.5, 30]
    assert names == ["stimuli/b.png", "stimuli/a/one.jpg", "stimuli/turned.jpg.png"]
    assert shapes == [[12, 16], [10, 20, 3], [14, 8, 3]]
    for name in ("b.png", "a/one.jpg"):
        written = (out / "stimuli" / name).read_bytes()
        assert written == (folder / "images" / name).read_bytes()
    with (
        Image.open(out / names[2]) as upright,
        Image.open(folder / "images/turned.jpg") as stored,
    ):
        turned = stored.transpose(Image.Transpose.ROTATE_270)
        np.testing.assert_array_equal(np.asarray(upright), np.asarray(turned))
    nan = np.nan
    with h5py.File(out / "fixations.hdf5") as file:
        assert file.attrs["type"] == b"FixationTrains"
        assert file.attrs["version"] == b"1.2"
        assert json.loads(file.attrs["__attributes__"]) == []
        # Image b.png: zoe, adam (subjects in order of appearance); then a/one.jpg.
        assert file["train_ns"][()].tolist() == [0, 0, 1]
        assert file["train_subjects"][()].tolist() == [0, 1, 1]
        for name, expected in {
            "train_xs": [[1.5, 3.25, nan], [0, 15.75, 7], [10, 19, nan]],
            "train_ys": [[2.5, 4.5, nan], [0, 11, 8], [5, 9, nan]],
            "train_ts": [[0, 1, nan], [0, 1, 3], [1, 2, nan]],
        }.items():
            assert file[name].dtype == np.float64
            np.testing.assert_array_equal(file[name][()], expected)
        assert json.loads(file["scanpath_attributes"].attrs["__attributes__"]) == []
        group = file["scanpath_fixation_attributes"]
        assert json.loads(group.attrs["__attributes__"]) == ["durations"]
        np.testing.assert_allclose(
            group["durations"][()],
            [[0.18, 0.2105, nan], [nan, 0.095, 0.12], [0.25, 0.3333, nan]],
            rtol=1e-6,
        )
        mapping = json.loads(file.attrs["scanpath_attribute_mapping"])
        assert mapping == {"durations": "duration"}


def rows(recording):
    """Every fixation with its names, in the order of images, subjects, index."""
    f = recording.fixations
    durations = np.where(np.isnan(f.duration_ms), -1, f.duration_ms)
    return sorted(
        zip(
            (recording.image_names[k].removesuffix(".png") for k in f.image),
            (recording.subject_names[k] for k in f.subject),
            f.fixation_index.tolist(),
            f.x.tolist(),
            f.y.tolist(),
            np.round(durations, 3).tolist(),
            strict=True,
        )
    )


def test_there_and_back(folder, tmp_path):
    dataset = read_folder(folder)
    out = write_pysaliency(dataset, tmp_path / "out")
    back = readers.read("pysaliency", out)
    assert rows(back) == rows(dataset)
    assert len(rows(back)) == len(ROWS)
    assert back.image_sizes.tolist() == dataset.image_sizes.tolist()
    assert back.pixels_per_dva.tolist() == [30, 25.5, 30]
    names = ("b.png", "a/one.jpg", "turned.jpg.png")
    assert back.image_names == names
    first = back.image_files[0]()
    assert first == (folder / "images/b.png").read_bytes()


def test_without_durations_and_scale(folder, tmp_path):
    (folder / "images.csv").unlink()
    lines = [",".join(map(str, row[:5])) for row in ROWS]
    header = "image,subject,fixation_index,x,y"
    (folder / "fixations.csv").write_text("\n".join([header, *lines]) + "\n")
    out = write_pysaliency(read_folder(folder), tmp_path / "out")
    with h5py.File(out / "fixations.hdf5") as file:
        group = file["scanpath_fixation_attributes"]
        assert json.loads(group.attrs["__attributes__"]) == [] == list(group)
    with h5py.File(out / "stimuli.hdf5") as file:
        assert json.loads(file.attrs["__attributes__"]) == []
        assert "pixels_per_dva" not in file
    assert readers.read("pysaliency", out).pixels_per_dva is None


def test_command_imports_what_it_exported(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    out = tmp_path / "out"
    assert main(["data", "export", "pysaliency", str(folder), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 images, 2 subjects, 7 fixations (pysaliency)" in printed
    words = ["data", "import", "pysaliency", str(out), "--name", "back"]
    # A first fixation at 0, 0 and numbers that start at 1 are wanted here.
    assert main([*words, "--accept", "order", "first_fixation"]) == 0, (
        capsys.readouterr().out
    )
    back = read_folder(tmp_path / "home/back")
    assert rows(back) == rows(read_folder(folder))


def test_an_existing_folder_is_left_alone(folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="exists; choose a new folder"):
        write_pysaliency(read_folder(folder), out)
    assert main(["data", "export", "pysaliency", str(folder), "-o", str(out)]) == 1
    assert "exists" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["precious.txt"]


def test_a_damaged_picture_leaves_nothing(folder, tmp_path):
    (folder / "images/turned.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"turned\.jpg"):
        write_pysaliency(read_folder(folder), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_turned_pictures_take_no_name_of_another(folder, tmp_path):
    data = (folder / "images/b.png").read_bytes()
    (folder / "images/turned.jpg.png").write_bytes(data)
    text = (folder / "images.csv").read_text() + "turned.jpg.png,16,12,30\n"
    (folder / "images.csv").write_text(text)
    with pytest.raises(DataError, match="another picture is called"):
        write_pysaliency(read_folder(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_formats_are_named(folder, tmp_path, capsys):
    assert main(["data", "export", "matlab", str(folder), "-o", "x"]) == 2
    assert "pysaliency" in capsys.readouterr().err
