"""Each typical defect gets its own line, and what may be removed is counted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.axis_evidence import READINGS
from deepgaze_jax.datasets.cleaning import CleaningOptions, clean, without_unreadable
from deepgaze_jax.datasets.recording import Meta, Recording
from deepgaze_jax.datasets.validation import validate
from deepgaze_jax.datasets.validation_report import CHECKS
from deepgaze_jax.fixations import Fixations


@pytest.fixture(scope="module")
def toy():
    recording = readers.read("toy_gaze", n_images=8, n_subjects=6)
    return replace(recording, meta=replace(recording.meta, origin_stated=False))


def with_rows(recording, rows=None, **columns):
    """The recording with some columns or rows changed."""
    f = recording.fixations if rows is None else recording.fixations.select(rows)
    names = ("image", "subject", "fixation_index", "x", "y", "duration_ms")
    values = {name: columns.get(name, getattr(f, name)) for name in names}
    return replace(recording, fixations=Fixations(**values))


def problems(recording, accept=()):
    return [check.name for check in validate(recording, accept).problems]


def line(recording, name):
    (found,) = [c for c in validate(recording).checks if c.name == name]
    return found.text


def test_sound_data_has_no_problem(toy):
    report = validate(toy)
    assert report.problems == ()
    assert {check.name for check in report.checks} == set(CHECKS)
    assert (report.n_images, report.n_subjects) == (8, 6)
    assert len(report.text().splitlines()) == 1 + len(report.checks)
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.loads(text)["n_problems"] == 0


def changed(values, rows, value):
    values = np.array(values, np.float64)
    values[rows] = value
    return values


@pytest.mark.parametrize("number", [3, 1])
def test_rows_that_may_be_dropped(toy, number):
    f, n = toy.fixations, len(toy.fixations)
    again = np.append(np.arange(n), np.arange(number))
    for recording, name, option, reason in (
        (
            with_rows(toy, x=changed(f.x, slice(5, 5 + number), np.nan)),
            "nan",
            CleaningOptions(drop_nan=True),
            "NaN",
        ),
        (
            with_rows(toy, y=changed(f.y, slice(5, 5 + number), 500.0)),
            "out_of_frame",
            CleaningOptions(drop_out_of_frame=True),
            "out of frame",
        ),
        (
            with_rows(toy, rows=again),
            "duplicates",
            CleaningOptions(drop_duplicates=True),
            "duplicates",
        ),
    ):
        assert problems(recording) == [name]
        assert line(recording, name).startswith(f"{number} of ")
        assert problems(recording, accept=[name]) == []
        cleaned = clean(recording, option)
        assert problems(cleaned) == []
        assert cleaned.meta.dropped == {reason: number}
        assert len(cleaned.fixations) == len(recording.fixations) - number
        assert f"dropped {reason}: {number}" in line(cleaned, "fixations")
        # Nothing else is touched.
        assert clean(recording, CleaningOptions()).fixations is recording.fixations


def test_copies_that_were_numbered_anew_are_duplicates(toy):
    rows = np.append(np.arange(len(toy.fixations)), [0])
    index = toy.fixations.fixation_index[rows].copy()
    index[-1] = 99
    assert problems(with_rows(toy, rows=rows, fixation_index=index)) == ["duplicates"]


def test_mouse_samples_may_stay_in_place():
    f = Fixations([0] * 40, [0] * 40, np.arange(40), [5.0] * 40, [5.0] * 40)
    recording = Recording(
        "m", ("a",), [[9, 9]], (None,), f, ("s",), Meta("salicon", kind="mouse samples")
    )
    assert "duplicates" not in problems(recording)


def test_unsorted_and_restarting_indices(toy):
    n = len(toy.fixations)
    order = np.arange(n)
    order[:2] = 1, 0
    swapped = with_rows(toy, rows=order)
    restarting = with_rows(toy, fixation_index=toy.fixations.fixation_index % 3)
    for recording in (swapped, restarting):
        assert problems(recording) == ["order"]
        cleaned = clean(recording, CleaningOptions(sort=True))
        assert problems(cleaned) == []
        cleaned.fixations.validate(cleaned.image_sizes)
    cleaned = clean(swapped, CleaningOptions(sort=True))
    np.testing.assert_array_equal(cleaned.fixations.x, toy.fixations.x)
    np.testing.assert_array_equal(
        cleaned.fixations.fixation_index, toy.fixations.fixation_index
    )


def test_starts_that_go_back_in_time(toy):
    start = toy.fixations.fixation_index * 250.0
    timed = replace(toy, extra={"start_ms": start})
    assert problems(timed) == []
    start = start.copy()
    start[2] = 0
    assert problems(replace(toy, extra={"start_ms": start})) == ["order"]


def test_durations(toy):
    duration = changed(toy.fixations.duration_ms, 4, -1)
    assert problems(with_rows(toy, duration_ms=duration)) == ["durations"]


@pytest.mark.parametrize("reading", list(READINGS)[1:])
def test_other_readings_of_the_axes(toy, reading):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    x, y = READINGS[reading](f.x, f.y, width, height)
    found = validate(with_rows(toy, x=x, y=y))
    (check,) = [c for c in found.problems if c.name == "axes"]
    assert f"look {reading}" in check.text
    assert "local contrast" in check.text


def test_swapped_axes_without_pictures(toy):
    blind = replace(
        toy,
        image_files=(None,) * 8,
        image_sizes=np.tile([600, 900], (8, 1)),
    )
    rng = np.random.default_rng(0)
    n = len(toy.fixations)
    x, y = rng.normal(450, 80, n), rng.normal(300, 60, n)
    assert problems(with_rows(blind, x=x, y=y)) == ["images_missing"]
    assert "axes" in problems(with_rows(blind, x=y, y=x))
    assert "cannot be told apart" in line(with_rows(blind, x=x, y=y), "axes")


def test_counting_from_1(toy):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    x, y = np.floor(f.x) + 1, np.floor(f.y) + 1
    assert "origin" not in problems(with_rows(toy, x=np.floor(f.x), y=np.floor(f.y)))
    x[0], y[0] = width[0], height[0]
    recording = with_rows(toy, x=x, y=y)
    assert set(problems(recording)) == {"origin", "out_of_frame"}
    assert "count from 1" in line(recording, "origin")
    # Whole numbers that begin with many ones, and nothing at the far edge.
    x = np.minimum(x, width - 1)
    y = np.minimum(y, height - 1)
    x[:12], y[12:24] = 1, 1
    assert problems(with_rows(toy, x=x, y=y)) == ["origin"]
    stated = replace(toy, meta=replace(toy.meta, origin_stated=True))
    assert problems(with_rows(stated, x=x, y=y)) == []


def test_normalised_and_mixed_units(toy):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    recording = with_rows(toy, x=f.x / width, y=f.y / height)
    assert "units" in problems(recording)
    assert "parts of width and height" in line(recording, "units")
    assert line(recording, "axes") == "unknown, as are the units"
    one = f.subject == 2
    mixed = with_rows(
        toy, x=np.where(one, f.x / width, f.x), y=np.where(one, f.y / height, f.y)
    )
    assert problems(mixed) == ["units"]
    assert "units are mixed" in line(mixed, "units")
    assert "subject2" in line(mixed, "units")


@pytest.mark.parametrize("group", ["image", "scanpath", "row"])
def test_units_that_are_mixed_by_image_scanpath_or_row(toy, group):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    odd = {
        "image": np.isin(f.image, (1, 4)),
        "scanpath": (f.image == 3) & (f.subject == 5),
        "row": np.arange(len(f)) % 9 == 4,
    }[group]
    named = {
        "image": "image toy001.png, toy004.png",
        "scanpath": "subject subject5 on toy003.png",
        "row": "",
    }[group]
    mixed = with_rows(
        toy, x=np.where(odd, f.x / width, f.x), y=np.where(odd, f.y / height, f.y)
    )
    assert problems(mixed) == ["units"]
    text = line(mixed, "units")
    assert "units are mixed" in text and str(odd.sum()) in text and named in text


def test_one_point_in_the_corner_is_no_unit(toy):
    corner = with_rows(
        toy,
        x=changed(toy.fixations.x, slice(7, 10), 0.5),
        y=changed(toy.fixations.y, slice(7, 10), 0.5),
    )
    assert problems(corner) == []


def test_points_at_zero_are_noted(toy):
    lost = with_rows(
        toy,
        x=changed(toy.fixations.x, slice(7, 10), 0),
        y=changed(toy.fixations.y, slice(7, 10), 0),
    )
    assert problems(lost) == []
    assert "3 points are exactly at 0, 0" in validate(lost).text()


def test_durations_in_seconds(toy):
    f = toy.fixations
    (check,) = validate(with_rows(toy, duration_ms=f.duration_ms / 1000)).problems
    assert check.name == "durations" and "seem to be seconds" in check.text
    assert check.remedy.startswith("--time-unit s")
    (check,) = validate(with_rows(toy, duration_ms=f.duration_ms * 1000)).problems
    assert "microseconds" in check.text
    for odd, named in ((f.subject == 2, "subject subject2"), (f.image == 1, "toy001")):
        mixed = np.where(odd, f.duration_ms / 1000, f.duration_ms)
        (check,) = validate(with_rows(toy, duration_ms=mixed)).problems
        assert check.name == "durations" and "units are mixed" in check.text
        assert named in check.text and f"{odd.sum()} durations" in check.text
    both = changed(f.duration_ms / 1000, 4, -1)
    assert problems(with_rows(toy, duration_ms=both)) == ["durations"] * 2


def test_a_mirrored_table_of_a_few_images_gets_a_note():
    few = readers.read("toy_gaze", n_images=4, n_subjects=6, seed=3)
    f = few.fixations
    assert "may be" not in line(few, "axes")
    width = few.image_sizes[f.image][:, 1]
    mirrored = with_rows(few, x=width - f.x)
    (check,) = [c for c in validate(mirrored).checks if c.name == "axes"]
    assert check.status == "note"
    assert "may be mirrored" in check.text and "4 images, too few" in check.text


def test_whole_numbers_without_a_zero_get_a_note(toy):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    x = np.clip(np.floor(f.x) + 1, 2, width - 2)
    y = np.clip(np.floor(f.y) + 1, 2, height - 2)
    whole = with_rows(toy, x=x, y=y)
    (check,) = [c for c in validate(whole).checks if c.name == "origin"]
    assert check.status == "note"
    assert "whole numbers and none is 0" in check.text
    assert "--origin 0 or 1" in check.text
    assert line(with_rows(toy, x=changed(x, 0, 0), y=y), "origin") == "counts from 0"
    assert line(with_rows(toy, x=x + 0.5, y=y), "origin").startswith("no sign")
    stated = replace(whole, meta=replace(toy.meta, origin_stated=True))
    assert line(stated, "origin") == "stated"


def test_images_of_unknown_size_are_said_to_be_unknown(toy):
    unknown = replace(toy, image_sizes=np.zeros((8, 2), int), image_files=(None,) * 8)
    text = validate(unknown).text()
    assert "nan" not in text.replace(" nan  ", "")
    assert line(unknown, "axes").startswith("unknown")
    assert f"of {len(toy.fixations)} the image has no known size" in text


def test_singular():
    f = Fixations([0], [0], [0], [5.0], [5.0])
    one = Recording("o", ("a",), [[9, 9]], (None,), f, ("s",), Meta("table"))
    text = validate(one).text()
    assert text.startswith("o: 1 image, 1 subject, 1 row\n")
    for words in ("1 of 1 image has no picture", "0 of 1 row has", "1 fixation\n"):
        assert words in text
    assert line(one, "subjects") == "1 row"


def test_pictures_are_decoded_once(toy):
    calls = []

    def counted(index):
        calls.append(index)
        return toy.image_files[index]()

    png = toy.image_files[0]()
    files = [lambda i=i: counted(i) for i in range(8)]
    files[3] = lambda: calls.append(3) or png[:-300]
    recording = replace(toy, image_files=tuple(files))
    report = validate(recording)
    cleaned = without_unreadable(recording, report.unreadable)
    assert [i for i, file in enumerate(cleaned.image_files) if file is None] == [3]
    assert sorted(calls) == list(range(8))


def test_first_fixation_on_the_cross(toy):
    f = toy.fixations
    height, width = toy.image_sizes[f.image].T
    first = f.fixation_index == 0
    recording = with_rows(
        toy, x=np.where(first, width / 2, f.x), y=np.where(first, height / 2, f.y)
    )
    timed = replace(recording, extra={"start_ms": f.fixation_index * 250.0})
    assert problems(timed) == ["first_fixation"]
    assert problems(timed, accept=["first_fixation"]) == []
    cleaned = clean(timed, CleaningOptions(first_fixation="drop"))
    assert problems(cleaned) == []
    assert cleaned.meta.dropped == {"first fixation": int(first.sum())}
    assert cleaned.fixations.fixation_index.min() == 1
    # Nothing is left to be dropped.
    again = clean(cleaned, CleaningOptions(first_fixation="drop"))
    assert len(again.fixations) == len(cleaned.fixations)


def test_first_fixation_of_each_presentation():
    f = Fixations([0] * 5, [0] * 5, np.arange(5), [1.0] * 5, [2.0] * 5)
    shown = np.array(["enc", "enc", "rec", "rec", "rec"])
    recording = Recording(
        "f", ("a",), [[9, 9]], (None,), f, ("s",), Meta("figrim"), None, None,
        {"presentation": shown},
    )  # fmt: skip
    cleaned = clean(recording, CleaningOptions(first_fixation="drop"))
    assert cleaned.fixations.fixation_index.tolist() == [1, 3, 4]
    assert cleaned.extra["presentation"].tolist() == ["enc", "rec", "rec"]
    # Where the first one has gone for another reason, no other takes its place.
    x = np.where(np.arange(5) == 2, 99.0, 1.0)
    outside = with_rows(recording, x=x)
    options = CleaningOptions(drop_out_of_frame=True, first_fixation="drop")
    for sort in (False, True):
        cleaned = clean(outside, replace(options, sort=sort))
        assert cleaned.meta.dropped == {"out of frame": 1, "first fixation": 1}
        assert len(cleaned.fixations) == 3
        assert list(cleaned.extra) == ["presentation"]


def test_pictures(toy):
    png = toy.image_files[0]()
    files = list(toy.image_files)
    files[1] = None
    missing = replace(toy, image_files=tuple(files))
    assert problems(missing) == ["images_missing"]
    assert "toy001.png" in line(missing, "images_missing")
    files[1] = lambda: png[:-300]
    assert problems(replace(toy, image_files=tuple(files))) == ["images_unreadable"]
    files[1] = lambda: png
    other = replace(toy, image_files=tuple(files))
    assert problems(other) == ["image_sizes"]
    assert "160 x 120, stated 120 x 160" in line(other, "image_sizes")
    sizes = toy.image_sizes.copy()
    sizes[1] = 0
    files[1] = None
    unknown = replace(toy, image_files=tuple(files), image_sizes=sizes)
    assert problems(unknown) == ["images_missing", "image_sizes"]


def test_notes(toy):
    silent = replace(toy, pixels_per_dva=None)
    assert problems(silent) == []
    assert line(silent, "pixels_per_dva").startswith("not stated")
    several = replace(toy, pixels_per_dva=np.linspace(8, 9, 8))
    assert line(several, "pixels_per_dva") == "stated: 8 to 9"
    few = with_rows(
        toy, rows=(toy.fixations.subject > 0) | (np.arange(len(toy.fixations)) < 2)
    )
    assert "less than a tenth of that: subject0" in line(few, "subjects")


def test_nothing_at_all(toy):
    nothing = with_rows(toy, rows=np.zeros(0, int))
    assert problems(nothing) == ["fixations"]
