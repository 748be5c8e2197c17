from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepgaze_jax.datasets import folder as folder_module
from deepgaze_jax.datasets import tables
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.picture_sources import PicturePart
from deepgaze_jax.datasets.pictures import picture_size
from deepgaze_jax.errors import DataError

HEADER = "image,subject,fixation_index,x,y,duration_ms\n"
ROWS = "b.png,anna,0,1.5,2,100\nb.png,anna,1,3,4,\na.png,ben,0,0,0,90\n"


@pytest.fixture
def data(tmp_path):
    """A sound data set: a.png 8 x 6, b.png 10 x 20 (width x height)."""
    root = tmp_path / "mine"
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (8, 6), (255, 0, 0)).save(root / "images/a.png")
    Image.new("RGB", (10, 20)).save(root / "images/b.png")
    (root / "fixations.csv").write_text(HEADER + ROWS)
    return root


def refused(root, message):
    with pytest.raises(DataError, match=message) as error:
        read_folder(root)
    assert "\n" not in str(error.value)
    assert str(root) in str(error.value)


def test_sound_folder_without_images_table(data):
    dataset = read_folder(data)
    assert (dataset.name, len(dataset)) == ("mine", 2)
    assert dataset.image_names == ("a.png", "b.png")
    assert dataset.image_sizes.tolist() == [[6, 8], [20, 10]]
    assert dataset.pixels_per_dva is None
    assert dataset.subject_names == ("anna", "ben")
    fixations = dataset.fixations
    assert fixations.image.tolist() == [1, 1, 0]
    assert fixations.subject.tolist() == [0, 0, 1]
    assert fixations.fixation_index.tolist() == [0, 1, 0]
    assert fixations.x.tolist() == [1.5, 3, 0]
    np.testing.assert_array_equal(fixations.duration_ms, [100, np.nan, 90])
    dataset.check_image_files()


def test_images_table_sets_order_size_and_scale(data, monkeypatch):
    # A byte-order mark, blank lines, spaces and other columns do no harm.
    (data / "images.csv").write_text(
        "\ufeffimage, width,height,pixels_per_dva,note\n"
        "b.png,10,20,24,x\n\n a.png ,8,6,30.5,y\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(folder_module, "picture_size", None)  # must not be needed
    dataset = read_folder(data)
    assert dataset.image_names == ("b.png", "a.png")
    assert dataset.image_sizes.tolist() == [[20, 10], [6, 8]]
    assert dataset.pixels_per_dva.tolist() == [24, 30.5]
    assert dataset.fixations.image.tolist() == [0, 0, 1]


def test_images_table_without_sizes(data):
    (data / "images.csv").write_text("image\nb.png\na.png\n")
    assert read_folder(data).image_sizes.tolist() == [[20, 10], [6, 8]]


def test_duration_column_may_be_absent_and_subjects_are_texts(data):
    (data / "fixations.csv").write_text(
        "y,x,subject,fixation_index,image\n1,2,07,0.0,a.png\n1,2,7,0,a.png\n"
    )
    dataset = read_folder(data)
    assert dataset.subject_names == ("07", "7")
    assert (dataset.fixations.x == 2).all()
    assert np.isnan(dataset.fixations.duration_ms).all()


def test_order_is_bytewise_and_includes_subfolders(data):
    for name in ("B.png", "ä.png", "z/10.png", "z/9.png", ".hidden.png", "notes.txt"):
        (data / "images" / name).parent.mkdir(exist_ok=True)
        Image.new("L", (5, 5)).save(data / "images" / name, "png")
    names = read_folder(data).image_names
    assert names == ("B.png", "a.png", "b.png", "z/10.png", "z/9.png", "ä.png")


def test_rows_are_read_in_pieces_with_their_lines(data, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 2)
    assert read_folder(data).fixations.image.tolist() == [1, 1, 0]
    (data / "fixations.csv").write_text(HEADER + ROWS + "a.png,ben,1,nan,0,1\n")
    refused(data, r"1 of 4 .* NaN .* line 5, a.png")


def test_exif_orientation_counts_for_the_size(data):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 12)).save(data / "images/c.jpg", exif=exif)
    Image.new("RGB", (30, 12)).save(data / "images/d.png", exif=exif)
    Image.new("RGB", (30, 12)).save(data / "images/e.jpg")
    sizes = read_folder(data).image_sizes[2:]
    assert sizes.tolist() == [[30, 12], [30, 12], [12, 30]]


def test_image_is_loaded_and_its_size_checked(data):
    image = read_folder(data).image(0)
    assert image.dtype == np.float32 and image.shape == (6, 8, 3)
    assert image[0, 0].tolist() == [255, 0, 0]
    (data / "images.csv").write_text("image,width,height\na.png,6,8\nb.png,10,20\n")
    with pytest.raises(DataError, match=r"a.png: is 8 x 6 pixels.*states 6 x 8"):
        read_folder(data).image(0)


def test_stated_sizes_are_checked_against_headers_on_request(data):
    (data / "images.csv").write_text("image,width,height\na.png,8,6\nb.png,10,21\n")
    with pytest.raises(DataError, match=r"b.png: is 10 x 20 pixels.*states 10 x 21"):
        read_folder(data).check_image_files()


def test_checking_sizes_reads_headers_alone(data, monkeypatch):
    dataset = read_folder(data)
    whole = data / "images" / "a.png"
    whole.write_bytes(whole.read_bytes()[:45])  # Cut off behind the header.

    def read_bytes(path):
        raise AssertionError(f"{path} is read as a whole")

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    dataset.check_image_files()
    part = PicturePart(dataset.pictures, (1,))
    with part.open(0) as file:
        assert picture_size(file) == (20, 10)


def test_missing_parts(data, tmp_path):
    refused(tmp_path / "none", r"no such folder; expected images/ and fixations.csv")
    refused(data / "fixations.csv", r"is not a folder")
    (data / "fixations.csv").rename(data / "fix.csv")
    refused(data, r"has no fixations.csv; found fix.csv, images")
    (data / "fix.csv").rename(data / "fixations.csv")
    (data / "images").rename(data / "pictures")
    refused(data, r"has no images; found fixations.csv, pictures")
    (data / "images").mkdir()
    refused(data, r"holds no pictures")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is empty; expected the columns image, subject"),
        (HEADER, r"has no fixations below its header"),
        (
            "image,x,y\n",
            r"lacks the columns subject, fixation_index; found image, x, y",
        ),
        ((HEADER + ROWS).replace(",", ";"), r"line 1: .*separated by semicolons"),
        ((HEADER + ROWS).replace(",", "\t"), r"line 1: .*separated by tabs"),
        ("x," + HEADER, r"column x is there twice"),
        (HEADER + 'a.png,s,0,"1,5",2,3\n', r"line 2: x is '1,5'.*decimal comma"),
        (HEADER + "a.png,s,0,1,5,2,3\n", r"line 2: has 7 values for 6.*with a point"),
        (HEADER + "a.png,s,0,1\n", r"line 2: has 4 values for 6 columns"),
        (HEADER + ROWS + "\na.png,s,0,left,2,3\n", r"line 6: x is 'left', .*number"),
        (HEADER + "a.png,s,0,,2,3\n", r"line 2: x is '', .*fill it in"),
        (HEADER + "a.png,s,0,1_0,2,3\n", r"line 2: x is '1_0', expected a number"),
        (HEADER + "a.png,s,0,1,2,long\n", r"line 2: duration_ms is 'long'"),
        (HEADER + "a.png,s,0.5,1,2,3\n", r"fixation_index is '0.5'.*whole number"),
        (HEADER + "a.png,s,-1,1,2,3\n", r"fixation_index is '-1'.*whole number"),
        (HEADER + "a.png,s,nan,1,2,3\n", r"fixation_index is 'nan'"),
        (HEADER + "a.png,,0,1,2,3\n", r"line 2: subject is '', expected a name"),
        (
            HEADER + ROWS + "c.png,s,0,1,2,3\n",
            r"line 5: image 'c.png' is not in images/",
        ),
        (HEADER + "A.png,s,0,1,2,3\n,s,0,1,2,3\n", r"'A.png'.*2 unknown names in all"),
        (HEADER + "../a.png,s,0,1,2,3\n", r"'../a.png' is not in images/"),
        (HEADER + ROWS + "a.png,s,0,NaN,2,3\n", r"1 of 4 .* NaN .* in line 5, a.png"),
        (HEADER + ROWS + "a.png,s,0,8,2,3\n", r"1 of 4 .* outside .* in line 5"),
        (HEADER + ROWS + "a.png,s,0,inf,2,3\n", r"1 of 4 .* outside"),
        (HEADER + ROWS + ROWS, r"3 of 6 fixations repeat an earlier row.* in line 5"),
        (HEADER + "a.png,s,1,1,2,3\na.png,s,0,1,2,3\n", r"do not increase.* in line 3"),
        (HEADER + "a.png,s,0,1,2,-3\n", r"impossible duration"),
        (HEADER + '"a.png,s,0,1,2,3\n', r"is not a table of commas"),
    ],
)
def test_broken_fixations_table(data, text, message):
    (data / "fixations.csv").write_text(text)
    refused(data, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,width,height\n", r"images.csv: has no images"),
        ("name,width,height\na.png,8,6\n", r"lacks the columns image; found name"),
        ("image,width\na.png,8\n", r"only one of width and height"),
        ("image\na.png\nb.png\na.png\n", r"line 4: .*'a.png' is listed again.*line 2"),
        (
            "image\na.png\nc.png\nd.png\n",
            r"line 3: .*'c.png' is not in.*2 of 3 are miss",
        ),
        ("image\nA.PNG\n", r"there is 'a.png'"),
        ("image\nimages/a.png\n", r"there is 'a.png'"),
        ("image\n../a.png\n", r"line 2: image '../a.png' is not a plain file name"),
        ("image\n/etc/passwd\n", r"is not a plain file name"),
        ("image\nx/../../a.png\n", r"is not a plain file name"),
        ("image\nx\\a.png\n", r"is not a plain file name"),
        ("image\na\0.png\n", r"is not a plain file name"),
        ("image\nC:a.png\n", r"is not a plain file name"),
        ("image,width,height\na.png,8.5,6\n", r"width is '8.5', expected a whole"),
        ("image,width,height\na.png,8,0\n", r"height is '0', expected a whole"),
        ("image,width,height\na.png,8,nan\n", r"height is 'nan'"),
        ("image,pixels_per_dva\na.png,0\n", r"pixels_per_dva is '0'"),
        ("image,pixels_per_dva\na.png,\n", r"pixels_per_dva is ''"),
        ("image,pixels_per_dva\na.png,inf\n", r"pixels_per_dva is 'inf'"),
        ("image\na.png\n", r"fixations.csv line 2: image 'b.png' is not in images.csv"),
    ],
)
def test_broken_images_table(data, text, message):
    (data / "images.csv").write_text(text)
    refused(data, message)


def test_encodings(data):
    table = data / "fixations.csv"
    table.write_text(HEADER + ROWS, encoding="utf-16")
    refused(data, r"UTF-16 text; save it as UTF-8")
    table.write_text(HEADER + "a.png,Jörg,0,1,2,3\n", encoding="latin-1")
    refused(data, r"line 2: is not UTF-8 text \(byte 0xf6\); save it as UTF-8")
    table.write_bytes((HEADER + ROWS * 3000).encode() + b"a.png,J\xf6rg,0,1,2,3\n")
    refused(data, rf"line {2 + 3000 * ROWS.count(chr(10))}: is not UTF-8 text")
    table.write_text(HEADER + "a.png,Jörg,0,1,2,3\n", encoding="utf-8-sig")
    assert read_folder(data).subject_names == ("Jörg",)


def test_oversized_table_is_not_read(data, monkeypatch):
    monkeypatch.setattr(tables, "_MAX_TABLE_BYTES", 20)
    refused(data, r"at most 0 are read: split")


def test_file_that_is_no_picture(data):
    (data / "images/a.png").write_text("<html>not found</html>")
    refused(data, r"a.png: is not a readable picture \(UnidentifiedImageError\)")


def test_osie(osie):
    assert len(osie) == 700 and len(osie.fixations) == 98321
    assert osie.image_names[0] == "1001.jpg"
    assert (osie.image_sizes == [600, 800]).all()
    assert osie.subject_names == tuple(map(str, range(15)))
    assert osie.fixations.x[0] == 395.5 and osie.fixations.duration_ms[0] == 246
    counts = osie.fixations.counts(699, 600, 800)
    assert counts.sum() == (osie.fixations.image == 699).sum()


def test_osie_mini(osie_mini):
    assert len(osie_mini) == 100 and len(osie_mini.fixations) == 14114
    assert (osie_mini.image_sizes == [300, 400]).all()
    osie_mini.check_image_files()
