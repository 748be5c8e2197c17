import numpy as np
import pytest
import writers_gaze

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.own_tables import load_table
from deepgaze_jax.datasets.readers.table import TableOptions
from deepgaze_jax.errors import DataError, InputError

ROWS = [  # image, subject, index, x, y, duration in ms
    ("a.png", "anna", 0, 1.5, 2.25, 200),
    ("a.png", "anna", 1, 7.0, 3.5, 150),
    ("b.png", "ben", 0, 0.5, 0.75, 320),
]
HEADER = ("image", "subject", "fixation_index", "x", "y", "duration_ms")


@pytest.fixture
def folder(tmp_path):
    """Pictures a.png (8 x 6) and b.png (10 x 20)."""
    (tmp_path / "a.png").write_bytes(writers_gaze.picture(8, 6))
    (tmp_path / "b.png").write_bytes(writers_gaze.picture(10, 20))
    return tmp_path


def write(
    folder, rows=ROWS, header=HEADER, separator=",", encoding="utf-8", comma=False
):
    lines = [separator.join(header)]
    for row in rows:
        texts = [str(value) for value in row]
        if comma:
            texts = [t.replace(".", ",") if t[0].isdigit() else t for t in texts]
        lines.append(separator.join(texts))
    path = folder / "table.csv"
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def is_the_table(recording, x=(1.5, 7.0, 0.5), y=(2.25, 3.5, 0.75)):
    f = recording.fixations
    assert recording.image_names == ("a.png", "b.png")
    assert recording.image_sizes.tolist() == [[6, 8], [20, 10]]
    assert recording.subject_names == ("anna", "ben")
    assert f.image.tolist() == [0, 0, 1]
    assert f.subject.tolist() == [0, 0, 1]
    assert f.fixation_index.tolist() == [0, 1, 0]
    np.testing.assert_allclose(f.x, x)
    np.testing.assert_allclose(f.y, y)
    assert f.duration_ms.tolist() == [200, 150, 320]
    return recording.meta.conventions


def test_plain_table(folder):
    recording = readers.read("table", write(folder))
    is_the_table(recording)
    assert recording.image_files[0]() == (folder / "a.png").read_bytes()
    assert not recording.meta.origin_stated
    # The folder of the only table is as good.
    is_the_table(readers.read("table", folder))


@pytest.mark.parametrize(
    ("separator", "encoding", "comma", "said"),
    [
        (";", "utf-8", True, "numbers have decimal commas"),
        (";", "cp1252", False, "columns are separated by semicolons"),
        ("\t", "utf-8-sig", False, "the text is UTF-8 with a byte-order mark"),
        ("\t", "utf-16", True, "the text is UTF-16"),
        ("|", "utf-8", False, "columns are separated by bars"),
    ],
)
def test_separators_and_encodings(folder, separator, encoding, comma, said):
    rows = [(image, s, i, x, y, d) for image, s, i, x, y, d in ROWS]
    path = write(folder, rows, HEADER, separator, encoding, comma)
    assert said in is_the_table(readers.read("table", path))


def test_windows_1252_names(folder):
    rows = [("a.png", "Jürgen", 0, 1, 2, 200)]
    table = load_table(write(folder, rows, encoding="cp1252"))
    assert table.texts("subject") == ["Jürgen"]
    assert "the text is Windows-1252" in table.notes


def test_parquet_is_the_same_table(folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))
    table = pyarrow.table({name: list(column) for name, column in columns.items()})
    path = folder / "t.parquet"
    parquet.write_table(table, path)
    is_the_table(readers.read("table", path))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="not a readable Parquet"):
        readers.read("table", path)


def test_columns_are_recognised_or_named(folder):
    header = ("Stimulus", "Participant", "Fix Index", "Fix X", "Fix-Y", "Duration")
    notes = is_the_table(readers.read("table", write(folder, header=header)))
    assert any("image is 'Stimulus'" in note for note in notes)
    header = ("Bild", "Person", "fixation_index", "links", "oben", "duration")
    path = write(folder, header=header)
    with pytest.raises(DataError, match="lacks image, x, y; found Bild, Person"):
        readers.read("table", path)
    columns = {"image": "Bild", "subject": "Person", "x": "links", "y": "oben"}
    is_the_table(readers.read("table", path, options=TableOptions(columns=columns)))
    with pytest.raises(DataError, match=r"--columns image=\.\.\. x=\.\.\. y=\.\.\.$"):
        readers.read("table", path)
    with pytest.raises(InputError, match=r"^--columns names a; it can name"):
        readers.read("table", path, options=TableOptions(columns={"a": "b"}))
    with pytest.raises(DataError, match=r"no column 'z'.*--columns x=\.\.\.: Bild"):
        readers.read("table", path, options=TableOptions(columns={"x": "z"}))


def test_columns_with_units_in_brackets(folder):
    header = (
        *("Stimulus", "Participant", "Fixation Index"),
        *("Gaze X (px)", "Gaze Y [MCS px]", "Duration [ms]"),
    )
    notes = is_the_table(readers.read("table", write(folder, header=header)))
    assert any("x is 'Gaze X (px)'" in note for note in notes)
    # The column in the unit that was stated is taken, whichever comes first.
    header = (*HEADER[:3], "X (deg)", "Y (deg)", "x [pixels]", "y [pixels]", "dur (s)")
    rows = [(a, s, i, x / 9, y / 9, x, y, d / 1000) for a, s, i, x, y, d in ROWS]
    notes = is_the_table(readers.read("table", write(folder, rows, header)))
    assert "columns that are not read: X (deg), Y (deg)" in notes
    path = write(folder, header=(*HEADER[:3], "x (norm)", "y (norm)", "duration_ms"))
    with pytest.raises(InputError, match=r"'x \(norm\)' is in normalised, not in px"):
        readers.read("table", path)
    found = readers.read("table", path, options=TableOptions(units="normalised"))
    assert found.fixations.x[0] == 1.5 * 8
    columns = {"x": "x (norm)", "y": "y (norm)"}
    is_the_table(readers.read("table", path, options=TableOptions(columns=columns)))
    # Nanoseconds are no duration in ms or s.
    path = write(folder, header=(*HEADER[:5], "duration [ns]"))
    found = readers.read("table", path)
    assert np.isnan(found.fixations.duration_ms).all()
    assert "columns that are not read: duration [ns]" in found.meta.conventions


def test_seconds_and_indices_from_1(folder):
    rows = [(a, s, i + 1, x, y, d / 1000) for a, s, i, x, y, d in ROWS]
    notes = is_the_table(readers.read("table", write(folder, rows)))
    assert "fixation_index counted from 1" in notes
    assert any("seconds" in note for note in notes)


def test_units_and_origins(folder):
    sizes = {"a.png": (8, 6), "b.png": (10, 20)}

    def converted(change, **options):
        rows = [(a, s, i, *change(x, y, *sizes[a]), d) for a, s, i, x, y, d in ROWS]
        found = readers.read(
            "table", write(folder, rows), options=TableOptions(**options)
        )
        is_the_table(found)
        return found

    converted(lambda x, y, w, h: (x / w, y / h), units="normalised")
    one = converted(lambda x, y, w, h: (x + 1, y + 1), origin="1")
    assert one.meta.origin_stated
    converted(lambda x, y, w, h: (x - w / 2, y - h / 2), origin="centre")
    converted(lambda x, y, w, h: (x, h - y), y_axis="up")
    dva = converted(
        lambda x, y, w, h: ((x - w / 2) / 5, -(y - h / 2) / 5),
        units="dva",
        y_axis="up",
        pixels_per_dva=5.0,
    )
    assert dva.pixels_per_dva.tolist() == [5, 5]
    with pytest.raises(InputError, match="--pixels-per-dva"):
        readers.read("table", folder, options=TableOptions(units="dva"))
    with pytest.raises(InputError, match="count from 1"):
        readers.read(
            "table", folder, options=TableOptions(units="normalised", origin="1")
        )


def test_what_a_table_lacks(folder):
    rows = [(x, y) for _, _, _, x, y, _ in ROWS]
    path = write(folder, rows, ("x", "y"))
    with pytest.raises(DataError, match="lacks image"):
        readers.read("table", path)
    recording = readers.read("table", path, image="a")
    assert recording.image_names == ("a.png",)
    assert recording.subject_names == ("table",)
    assert recording.fixations.fixation_index.tolist() == [0, 1, 2]
    assert np.isnan(recording.fixations.duration_ms).all()
    assert "1 picture without fixations was left out" in recording.meta.conventions


def test_unknown_images_and_missing_values_stay(folder):
    rows = [*ROWS, ("../c.png", "anna", 2, "NA", "", "")]
    recording = readers.read("table", write(folder, rows))
    assert recording.image_names == ("c.png", "a.png", "b.png")
    assert recording.image_files[0] is None
    assert recording.image_sizes[0].tolist() == [0, 0]
    assert np.isnan(recording.fixations.x[-1])
    sized = readers.read(
        "table", folder / "table.csv", options=TableOptions(image_size=(5, 7))
    )
    assert sized.image_sizes.tolist() == [[5, 7], [6, 8], [20, 10]]
    with pytest.raises(InputError, match="sizes of some images are not known"):
        readers.read(
            "table", folder / "table.csv", options=TableOptions(units="normalised")
        )


def test_names_without_ending_and_in_capitals(folder):
    rows = [(a.upper().removesuffix(".PNG"), *rest) for a, *rest in ROWS]
    notes = is_the_table(readers.read("table", write(folder, rows)))
    assert "2 images are called a little differently in the table" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty; export it again"),
        (b"image,x,y\n", "no fixations below its header; export it again"),
        (b"image,x,y\na.png,1\n", "line 2: has 2 values for 3 columns"),
        (b"image,x,y\na.png,1,abc\n", "line 2: y is 'abc'"),
        (b"image,x,x,y\na.png,1,1,2\n", "column x is there twice"),
        (b"image,x,y\n,1,2\n", "line 2: image is empty"),
        (b"\x00\x01\x02", "is not text.*save it as CSV"),
        (b'image,x,y\n"a.png,1,2\n', "not a table|lacks|values"),
    ],
)
def test_broken_tables(folder, text, message):
    (folder / "table.csv").write_bytes(text)
    with pytest.raises(DataError, match=message) as error:
        readers.read("table", folder / "table.csv")
    assert "\n" not in str(error.value)


def test_files_that_are_not_there(folder):
    with pytest.raises(DataError, match="no such file; give the table"):
        readers.read("table", folder / "none.csv")
    with pytest.raises(DataError, match="is a folder; give the table"):
        load_table(folder)
    with pytest.raises(
        DataError, match=r"has no table; found a\.png, b\.png; expected"
    ):
        readers.read("table", folder)


def test_folders_in_seconds(folder):
    (folder / "images").mkdir()
    (folder / "a.png").rename(folder / "images" / "a.png")
    (folder / "b.png").rename(folder / "images" / "b.png")
    rows = [(a, s, i, x, y, d / 1000) for a, s, i, x, y, d in ROWS]
    write(folder, rows).rename(folder / "fixations.csv")
    recording = readers.read("fixations_folder", folder)
    np.testing.assert_allclose(recording.fixations.duration_ms, [0.2, 0.15, 0.32])
    is_the_table(readers.read("fixations_folder", folder, time_unit="s"))


def test_the_two_readers_of_folders_agree(tmp_path):
    from deepgaze_jax.datasets.folder import read_folder

    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(writers_gaze.picture(8, 6))
    (tmp_path / "images/b.png").write_bytes(writers_gaze.picture(10, 20))
    (tmp_path / "images/unseen.png").write_bytes(writers_gaze.picture(10, 20))
    write(tmp_path).rename(tmp_path / "fixations.csv")
    lenient = readers.read("fixations_folder", tmp_path)
    strict = read_folder(tmp_path)
    assert lenient.image_names == strict.image_names
    assert lenient.subject_names == strict.subject_names
    np.testing.assert_array_equal(lenient.image_sizes, strict.image_sizes)
    for name in HEADER:
        np.testing.assert_array_equal(
            getattr(lenient.fixations, name), getattr(strict.fixations, name)
        )
