"""Readers on self-made files, in the layouts of the authors."""

import contextlib
import gzip
import io
import json
import zipfile

import fuzzing
import h5py
import numpy as np
import oracles_gaze
import pytest
import scipy.io
import writers_gaze
from hypothesis import given

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.fixation_detection import DetectionConfig
from deepgaze_jax.datasets.mat_files import read_mat
from deepgaze_jax.datasets.readers.toy_gaze import toy_log_density
from deepgaze_jax.datasets.source_files import SourceFile, list_files
from deepgaze_jax.errors import DataError, InputError

STEMS = ("i10", "i2", "i1_street_of_a_very_long_name_that_matlab_cuts_off_somewhere")


def points(recording, image, subject):
    """Rows of one scanpath: x, y, duration, index."""
    f = recording.fixations
    rows = (f.image == image) & (f.subject == subject)
    return f.x[rows], f.y[rows], f.duration_ms[rows], f.fixation_index[rows]


def refused(message, format, folder, error=DataError, **options):
    with pytest.raises(error, match=message) as found:
        readers.read(format, folder, **options)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("format", sorted(set(readers.FORMATS) - {"toy_gaze"}))
def test_every_reader_says_what_it_expects(format, tmp_path):
    refused("no such", format, tmp_path / "nothing")
    refused(str(tmp_path), format, tmp_path)
    # What is there instead, and what to do.
    (tmp_path / "else.xyz").write_text("")
    refused(r"else\.xyz; \S+|no such file; found else\.xyz; \S+", format, tmp_path)
    with pytest.raises(InputError, match="there are"):
        readers.read("tiff", tmp_path)


# --- MIT1003 --------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_mit1003(tmp_path, zipped):
    trials = writers_gaze.write_mit1003(tmp_path, STEMS, ("b", "A"), zipped)
    recording = readers.read("mit1003", tmp_path)
    # In natural order, and only pictures.
    assert recording.image_names == tuple(f"{s}.jpeg" for s in (STEMS[2], "i2", "i10"))
    assert recording.subject_names == ("A", "b")
    assert recording.image_sizes.tolist() == [[681, 1024]] * 3
    assert recording.pixels_per_dva.tolist() == [35] * 3
    assert recording.image_files[1]()[:2] == b"\xff\xd8"
    n_detected = n_kept = n_invalid_first = 0
    for (subject, stem), path in trials.items():
        found = oracles_gaze.detect_fixations(path[:, 0], path[:, 1])
        inside = [0 < x < 1024 and 0 < y < 681 for x, y, _, _ in found]
        n_invalid_first += not inside[0]
        kept = [row for row, good in list(zip(found, inside, strict=True))[1:] if good]
        image = recording.image_names.index(f"{stem}.jpeg")
        x, y, duration, index = points(
            recording, image, recording.subject_names.index(subject)
        )
        np.testing.assert_allclose(x, [row[0] for row in kept])
        np.testing.assert_allclose(y, [row[1] for row in kept])
        np.testing.assert_allclose(
            duration, [row[3] / 240 * 1000 for row in kept], 1e-6
        )
        assert (index >= 1).all()
        n_detected += len(found)
        n_kept += len(kept)
    meta = recording.meta
    assert meta.found["fixations detected"] == n_detected
    assert len(recording.fixations) == n_kept == n_detected - sum(meta.dropped.values())
    assert meta.dropped["first fixation"] == 6 - n_invalid_first
    start = recording.extra["start_ms"]
    assert start.min() > 1 / 0.24  # From 1, not from 0.


def test_mit1003_detection_and_first_fixation_are_adjustable(tmp_path):
    writers_gaze.write_mit1003(tmp_path, STEMS[:1], ("a",))
    default = readers.read("mit1003", tmp_path)
    kept = readers.read("mit1003", tmp_path, first_fixation="keep")
    assert len(kept.fixations) == len(default.fixations) + 1
    assert 0 in kept.fixations.fixation_index
    assert kept.extra["start_ms"][0] == pytest.approx(1000 / 240)
    deaf = readers.read(
        "mit1003", tmp_path, detection=DetectionConfig(threshold_dva_per_s=1e6)
    )
    assert len(deaf.fixations) == 0
    assert "1000000" in deaf.meta.conventions[0]


def test_mit1003_of_another_layout(tmp_path):
    (tmp_path / "DATA" / "a").mkdir(parents=True)
    path = tmp_path / "DATA" / "a" / "i1.mat"
    path.write_bytes(writers_gaze.mat_bytes({"i1": np.zeros(3)}))
    refused("eyeData", "mit1003", tmp_path)
    path.write_bytes(b"<!DOCTYPE html>")
    refused("web page", "mit1003", tmp_path)


# --- zips and MATLAB files ------------------------------------------------------------


def test_unsafe_zips_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "DATA.zip", "w") as file:
        file.writestr("../DATA/a/i1.mat", b"")
    refused("unsafe", "mit1003", tmp_path)
    (tmp_path / "DATA.zip").write_bytes(b"PK\x03\x04 cut")
    refused("damaged", "mit1003", tmp_path)


def source_of(data):
    return SourceFile("a.mat", "a.mat", len(data), lambda: data)


def test_matlab_files_that_unpack_to_too_much(monkeypatch):
    from deepgaze_jax.datasets import mat_files

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"fixLocs": np.zeros((900, 900))}, do_compression=True)
    assert len(buffer.getvalue()) < 100_000
    assert read_mat(source_of(buffer.getvalue()))["fixLocs"].shape == (900, 900)
    monkeypatch.setattr(mat_files, "_MAX_BYTES", 1_000_000)
    with pytest.raises(DataError, match="a variable takes"):
        read_mat(source_of(buffer.getvalue()))


SOUND = writers_gaze.mat_bytes(
    {"gaze": {"fixations": np.ones((4, 2)), "who": "anna"}, "other": np.arange(9.0)}
)


@given(fuzzing.damaged(SOUND))
def test_damaged_matlab_files_only_raise(data):
    """SciPy's reader ends the process on some of these."""
    with contextlib.suppress(DataError):
        read_mat(source_of(data))


@pytest.mark.parametrize("length", [0, 60, 200, 700])
def test_matlab_files_that_are_cut_off(length):
    data = writers_gaze.mat_bytes({"a": {"b": np.arange(200.0)}})
    with pytest.raises(DataError, match=r"a\.mat"):
        read_mat(source_of(data[:length]), ("a",))


def test_matlab_variables_that_are_not_there_are_listed():
    data = writers_gaze.mat_bytes({"salMap": np.zeros(3), "other": 1.0})
    with pytest.raises(DataError, match="fixLocs or fixations; found salMap, other"):
        read_mat(source_of(data), ("fixLocs", "fixations"))


def test_matlab_7_3(tmp_path):
    """Arrays lie transposed; cells and arrays of structs are references."""
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["numbers"] = np.arange(6.0).reshape(3, 2)
        file["numbers"].attrs["MATLAB_class"] = np.bytes_("double")
        references = file.create_group("#refs#")
        for i in range(2):
            references[f"x{i}"] = np.array([[i, i + 1.0]]).T
            text = references.create_dataset(
                f"n{i}",
                data=np.frombuffer(f"i{i}".encode("utf-16-le"), np.uint16)[:, None],
            )
            text.attrs["MATLAB_class"] = np.bytes_("char")
        kind = h5py.special_dtype(ref=h5py.Reference)
        for field, letter in (("xs", "x"), ("name", "n")):
            data = np.array(
                [[references[f"{letter}{i}"].ref] for i in range(2)], object
            )
            file.create_dataset(f"people/{field}", data=data, dtype=kind)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    found = read_mat(list_files(tmp_path)["a.mat"])
    assert found["numbers"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert [person["name"] for person in found["people"]] == ["i0", "i1"]
    assert found["people"][1]["xs"].tolist() == [[1.0, 2.0]]


def test_hdf5_that_points_elsewhere_is_refused(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(3.0)
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "x")
    with pytest.raises(DataError, match="link to elsewhere"):
        read_mat(list_files(tmp_path)["b.mat"])


# --- SALICON --------------------------------------------------------------------------


def test_salicon_matlab_editions(tmp_path):
    names = ["COCO_train2014_000000000009", "COCO_train2014_000000000025"]
    written = writers_gaze.write_salicon(tmp_path, "train", names)
    writers_gaze.write_salicon(tmp_path, "val", ["COCO_val2014_000000000042"], 1)
    refused("editions", "salicon", tmp_path, InputError)
    mouse = readers.read(
        "salicon", tmp_path, edition="2015", kind="mouse", split="train"
    )
    clipped = readers.read(
        "salicon", tmp_path, edition="2017", kind="mouse", split="train"
    )
    for i, name in enumerate(names):
        for k, (location, _) in enumerate(written[name]):
            x, y, _, _ = points(mouse, i, k)
            np.testing.assert_array_equal(x, location[:, 0] - 1)
            np.testing.assert_array_equal(y, location[:, 1] - 1)
    assert mouse.fixations.x.max() == 644
    assert clipped.fixations.x.max() == 639
    assert "2 samples were moved" in clipped.meta.conventions[-1]
    assert mouse.extra["start_ms"][:3].tolist() == [0, 10, 20]
    assert (mouse.meta.edition, mouse.meta.kind) == ("2015, mouse", "mouse samples")
    found = readers.read("salicon", tmp_path, edition="2017")
    assert found.splits == ("train", "train", "val")
    n = sum(len(f) for people in written.values() for _, f in people)
    assert (found.fixations.image < 2).sum() == n
    assert found.meta.kind == "fixations"


def test_salicon_json_of_another_kind(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"images": [{"id": 1}]}))
    refused("not SALICON's JSON", "salicon", tmp_path)


# --- maps -----------------------------------------------------------------------------


def test_cat2000(tmp_path):
    counts = np.zeros((30, 40))
    counts[2, 5], counts[29, 39] = 2, 1
    for category in ("Action", "Art"):
        for folder in ("Stimuli", "FIXATIONLOCS", "FIXATIONMAPS"):
            (tmp_path / "trainSet" / folder / category).mkdir(parents=True)
        (tmp_path / f"trainSet/Stimuli/{category}/001.jpg").write_bytes(
            writers_gaze.picture(40, 30, "JPEG")
        )
        (tmp_path / f"trainSet/FIXATIONMAPS/{category}/001.jpg").write_bytes(b"a map")
        (tmp_path / f"trainSet/FIXATIONLOCS/{category}/001.mat").write_bytes(
            writers_gaze.mat_bytes({"fixLocs": counts.astype(np.uint8)})
        )
    (tmp_path / "allFixData.mat").write_bytes(b"whatever")
    recording = readers.read("cat2000", tmp_path)
    assert recording.image_names == ("Action/001.jpg", "Art/001.jpg")
    assert recording.splits == ("train", "train")
    assert all(recording.image_files)
    assert recording.fixations.x.tolist() == [5, 5, 39] * 2
    assert recording.fixations.y.tolist() == [2, 2, 29] * 2
    recording.fixations.validate(recording.image_sizes)


def test_cat2000_without_maps_and_maps_that_are_none(tmp_path):
    (tmp_path / "allFixData.mat").write_bytes(b"whatever")
    refused("only MATLAB opens", "cat2000", tmp_path)
    (tmp_path / "FIXATIONLOCS").mkdir()
    path = tmp_path / "FIXATIONLOCS/1.mat"
    path.write_bytes(writers_gaze.mat_bytes({"fixLocs": np.full((3, 3), 0.5)}))
    refused("no counts", "cat2000", tmp_path)


def test_mit300_images_without_fixations_are_there(tmp_path):
    (tmp_path / "ALLSTIMULI").mkdir()
    for name in ("i1.jpg", "i2.jpg"):
        (tmp_path / "ALLSTIMULI" / name).write_bytes(writers_gaze.picture(8, 6, "JPEG"))
    recording = readers.read("mit300", tmp_path)
    assert recording.image_names == ("i1.jpg", "i2.jpg")
    assert (len(recording.fixations), recording.image_sizes.tolist()) == (
        0,
        [[6, 8], [6, 8]],
    )


# --- pysaliency -----------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", ["Fixations", "FixationTrains", "ScanpathFixations"])
@pytest.mark.parametrize("file_stimuli", [False, True])
def test_pysaliency(tmp_path, kind, old, file_stimuli):
    scanpaths = writers_gaze.write_pysaliency(tmp_path, kind, file_stimuli, old)
    recording = readers.read("pysaliency", tmp_path)
    assert recording.image_sizes.tolist() == [[10, 20], [16, 12]]
    names = ("a.png", "b.png") if file_stimuli else ("0.png", "1.png")
    assert recording.image_names == names
    assert all(file()[1:4] == b"PNG" for file in recording.image_files)
    assert recording.subject_names == ("0", "1")
    assert len(recording.fixations) == 6
    for image, subject, xs, ys, durations in scanpaths:
        x, y, duration, index = points(recording, image, subject)
        assert (x.tolist(), y.tolist()) == (xs, ys)
        np.testing.assert_allclose(duration, np.array(durations) * 1000, 1e-6)
        assert index.tolist() == list(range(len(xs)))


def test_pysaliency_files_that_do_not_belong_together(tmp_path):
    writers_gaze.write_pysaliency(tmp_path, "Fixations")
    with h5py.File(tmp_path / "fixations.hdf5", "r+") as file:
        file["n"][0] = 7
    refused("do not belong together", "pysaliency", tmp_path)
    (tmp_path / "fixations.hdf5").write_bytes(b"not HDF5")
    refused("not a readable file", "pysaliency", tmp_path)


# --- EyeLink --------------------------------------------------------------------------


def write_asc(folder, image, x=512.0, y=384.0):
    text = writers_gaze.ASC.format(image=image, x=x, y=y).replace(" ", "\t", 1)
    (folder / "anna.asc.gz").write_bytes(gzip.compress(text.encode()))


def test_eyelink_without_images_is_on_the_screen(tmp_path):
    write_asc(tmp_path, "MSG 210 nothing")
    recording = readers.read("eyelink", tmp_path)
    assert recording.image_names == ("trial-1",)
    assert recording.image_sizes.tolist() == [[768, 1024]]
    assert recording.subject_names == ("anna",)
    x, _, duration, index = points(recording, 0, 0)
    np.testing.assert_array_equal(x, [512, 512, np.nan])
    assert (duration.tolist(), index.tolist()) == ([50, 200, 200], [0, 1, 2])
    assert recording.extra["start_ms"].tolist() == [1, 60, 270]
    assert recording.pixels_per_dva.tolist() == [36]
    assert recording.meta.dropped == {"of the other eye": 1}
    assert len(readers.read("eyelink", tmp_path, eye="both").fixations) == 4
    left = readers.read("eyelink", tmp_path, eye="left")
    assert left.fixations.x.tolist() == [510]


def test_eyelink_maps_the_screen_to_the_image(tmp_path):
    (tmp_path / "a.png").write_bytes(writers_gaze.picture(200, 100))
    write_asc(tmp_path, "MSG 210 !V TRIAL_VAR image a.png", 512 + 40, 384 - 20)
    refused("says where it was shown", "eyelink", tmp_path, InputError)
    # Shown at twice its size in the middle of the screen.
    recording = readers.read("eyelink", tmp_path, image_rect=(312, 284, 400, 200))
    assert recording.image_names == ("a.png",)
    assert recording.fixations.x[:2].tolist() == [100, 120]
    assert recording.fixations.y[:2].tolist() == [50, 40]
    assert recording.pixels_per_dva.tolist() == [18]
    onset = readers.read(
        "eyelink",
        tmp_path,
        image_rect=(312, 284, 400, 200),
        onset_message="image_on",
    )
    # The message came at 1060 and says that it happened 10 ms later, at 1070.
    assert onset.extra["start_ms"].tolist() == [200]
    assert onset.meta.dropped["before the image"] == 2


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("!V IMGLOAD CENTER images\\a.png 512 384", (140, 30)),
        ("!V IMGLOAD TOP_LEFT ./images/a.png 412 334", (140, 30)),
        ("!V IMGLOAD TOP_LEFT a.png 312 284 400 200", (120, 40)),
    ],
)
def test_eyelink_image_messages(tmp_path, message, expected):
    (tmp_path / "a.png").write_bytes(writers_gaze.picture(200, 100))
    write_asc(tmp_path, f"MSG 210 {message}", 512 + 40, 384 - 20)
    fixations = readers.read("eyelink", tmp_path).fixations
    assert (fixations.x[1], fixations.y[1]) == expected


def test_eyelink_trials_that_name_no_image(tmp_path):
    def said(folder):
        notes = readers.read("eyelink", folder).meta.conventions
        return next(note for note in notes if "trial-N" in note)

    write_asc(tmp_path, "MSG 210 !V TRIAL_VAR condition easy")
    assert "condition" in said(tmp_path)
    assert "--image-variable" not in said(tmp_path)
    # Two people: is the first trial of one the picture of the other's?
    (tmp_path / "other").mkdir()
    write_asc(tmp_path / "other", "MSG 210 !V TRIAL_VAR condition hard")
    assert "taken for the same picture" in said(tmp_path)
    assert "--image-variable" in said(tmp_path)


def test_eyelink_files_of_one_name_are_different_people(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_asc(tmp_path / name, "MSG 210 nothing")
    recording = readers.read("eyelink", tmp_path)
    assert recording.subject_names == ("first/anna", "second/anna")
    assert len(recording.fixations) == 6
    packed = (tmp_path / "first" / "anna.asc.gz").read_bytes()
    (tmp_path / "first" / "anna.asc").write_bytes(gzip.decompress(packed))
    refused("are the same recording; remove one", "eyelink", tmp_path)


def test_eyelink_files_without_events_or_cut_off(tmp_path):
    (tmp_path / "a.asc").write_text("MSG 1 DISPLAY_COORDS 0 0 10 10\n1 2 3\n")
    refused("no EFIX", "eyelink", tmp_path)
    (tmp_path / "a.asc").write_text("EFIX R 1 2\n")
    refused("is it complete", "eyelink", tmp_path)
    (tmp_path / "a.asc").unlink()
    write_asc(tmp_path, "MSG 210 nothing")
    data = (tmp_path / "anna.asc.gz").read_bytes()
    (tmp_path / "anna.asc.gz").write_bytes(data[:-20])
    refused("damaged gzip", "eyelink", tmp_path)


# --- toy_gaze -------------------------------------------------------------------------


def test_toy_gaze_follows_its_density():
    recording = readers.read("toy_gaze", n_images=12, n_subjects=60)
    fixations = recording.fixations
    gained, expected, variance = [], [], []
    for i in range(12):
        log_density = toy_log_density(i)
        density = np.exp(log_density)
        rows = fixations.image == i
        x, y = fixations.x[rows].astype(int), fixations.y[rows].astype(int)
        gained.append(log_density[y, x].mean())
        mean = (density * log_density).sum()
        expected.append(mean)
        variance.append((density * (log_density - mean) ** 2).sum() / rows.sum())
    error = np.sqrt(np.sum(variance)) / 12
    assert abs(np.mean(gained) - np.mean(expected)) < 4 * error
    # Another image's density fits much less well.
    other = toy_log_density(2)
    rows = fixations.image == 0
    x, y = fixations.x[rows].astype(int), fixations.y[rows].astype(int)
    assert other[y, x].mean() < gained[0] - 1


def test_toy_gaze_is_the_same_each_time():
    first, second = (readers.read("toy_gaze", n_images=2) for _ in range(2))
    assert first.image_files[0]() == second.image_files[0]()
    np.testing.assert_array_equal(first.fixations.x, second.fixations.x)
    other = readers.read("toy_gaze", n_images=2, seed=1)
    assert first.image_files[0]() != other.image_files[0]()
