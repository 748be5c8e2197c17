import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations

SIZES = [[60, 80], [40, 50]]


def sound(**changes):
    columns = {
        "image": [0, 0, 0, 1, 1],
        "subject": [0, 0, 1, 0, 0],
        "fixation_index": [0, 1, 0, 0, 1],
        "x": [0.0, 79.9, 5.0, 6.0, 49.9],
        "y": [0.0, 59.9, 5.0, 6.0, 39.9],
        "duration_ms": [100, 200, np.nan, 150, 120],
    }
    return Fixations(**(columns | changes))


def test_columns_have_their_types_and_are_read_only():
    image = np.array([0, 0, 0, 1, 1])
    fixations = sound(image=image)
    types = [getattr(fixations, f.name).dtype for f in dataclasses.fields(fixations)]
    assert types == [np.int32] * 3 + [np.float64] * 2 + [np.float32]
    image[0] = 7
    assert fixations.image[0] == 0
    with pytest.raises(ValueError, match=r"read-only"):
        fixations.x[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        fixations.x = fixations.y


def test_unknown_durations_are_nan():
    assert np.isnan(Fixations([0], [0], [0], [1], [1]).duration_ms).all()


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"x \[4\].*one length"):
        sound(x=[1, 2, 3, 4])
    with pytest.raises(InputError, match=r"one-dimensional"):
        Fixations(*([np.zeros((2, 2))] * 5))


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, 2.0**31, -(2.0**40)])
def test_indices_must_be_whole_numbers(bad):
    with pytest.raises(DataError, match=r"1 of 5 values of subject .* first row 2"):
        sound(subject=[0, 0, bad, 0, 0])


def test_indices_of_another_type_are_refused():
    with pytest.raises(DataError, match=r"subject has the type"):
        sound(subject=["a", "b", "c", "d", "e"])
    assert sound(subject=np.array([0.0, 0, 1, 0, 0])).subject.dtype == np.int32


def test_empty_table():
    empty = Fixations([], [], [], [], [])
    assert len(empty) == 0
    assert empty.problems(SIZES) == ()
    assert empty.counts(0, 3, 4).sum() == 0


def test_select_and_of_images():
    fixations = sound()
    assert fixations.select(fixations.subject == 0).x.tolist() == [0.0, 79.9, 6.0, 49.9]
    assert fixations.select(slice(1, 3)).y.tolist() == [59.9, 5.0]
    assert fixations.select([4, 0]).image.tolist() == [1, 0]
    assert fixations.of_images([1]).image.tolist() == [1, 1]
    assert fixations.of_images(1).x.tolist() == [6.0, 49.9]
    assert len(fixations.of_images([])) == 0


@given(st.lists(st.tuples(st.floats(0, 6.99), st.floats(0, 4.99)), max_size=30))
def test_counts_against_a_loop(points):
    x, y = np.array(points).reshape(-1, 2).T
    zeros = np.zeros(len(x))
    counts = Fixations(zeros, zeros, np.arange(len(x)), x, y).counts(0, 5, 7)
    expected = np.zeros((5, 7), np.float32)
    for px, py in points:
        expected[int(np.floor(py)), int(np.floor(px))] += 1
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("x", [-0.1, 80.0, np.nan, np.inf])
def test_counts_refuse_what_is_outside(x):
    fixations = Fixations([1, 0, 0], [0, 0, 0], [0, 0, 1], [500, 5, x], [5, 5, 5])
    with pytest.raises(DataError, match=r"1 of 2 fixations on image 0 are outside"):
        fixations.counts(0, 60, 80)


def test_coordinates_that_are_shares_are_refused():
    x, y = [0.0, 0.4, 0.7, 1.0, 0.2], [0.0, 0.25, 1.0, 0.5, 0.1]
    (problem,) = sound(x=x, y=y).problems(SIZES)
    assert (problem.count, problem.first_row) == (5, 0)
    assert "between 0 and 1" in problem.what and "multiply" in problem.advice
    assert sound(x=[*x[:-1], 2], y=y).problems(SIZES) == ()
    # Somebody may have looked at the corner.
    assert sound(x=[0, 1, 0, 0, 1], y=[0] * 5).problems(SIZES) == ()


@pytest.mark.parametrize("point", [(13, -3), (-3, 13)])
def test_what_is_negative_does_not_fit_the_other_way_round(point):
    x, y = point
    (problem,) = sound(x=[0, x, 5, 6, 49], y=[0, y, 5, 6, 39]).problems(SIZES)
    assert problem.advice == "drop them, or check units and origin"


def test_sound_fixations_pass():
    assert sound().problems(SIZES) == ()
    sound().validate(SIZES)


@pytest.mark.parametrize(
    ("changes", "text", "row"),
    [
        ({"x": [0, np.nan, 5, np.nan, 49]}, "2 of 5 .* NaN", 1),
        ({"x": [0, 80.0, 5, 6, 49]}, "1 of 5 .* outside", 1),
        ({"x": [0, 79, 5, 6, 50.0]}, "1 of 5 .* outside", 4),
        ({"y": [0, 59, -0.01, 6, 39]}, "1 of 5 .* outside", 2),
        ({"y": [0, np.inf, 5, 6, 39]}, "1 of 5 .* outside", 1),
        ({"subject": [0, 0, -1, 0, 0]}, "1 of 5 .* negative subject", 2),
        ({"image": [0, 0, -1, 1, 1]}, "1 of 5 .* negative image", 2),
        ({"fixation_index": [-1, 1, 0, 0, 1]}, "negative fixation_index", 0),
        ({"image": [0, 0, 2, 1, 1]}, "1 of 5 .* beyond the 2 known", 2),
        ({"fixation_index": [1, 0, 0, 0, 1]}, "1 of 5 .* do not increase", 1),
        ({"fixation_index": [0, 1, 0, 3, 3]}, "1 of 5 .* do not increase", 4),
        ({"duration_ms": [1, 1, 1, -5, 1]}, "1 of 5 .* impossible duration", 3),
    ],
)
def test_each_problem_is_named_with_count_and_first(changes, text, row):
    fixations = sound(**changes)
    with pytest.raises(DataError, match=text):
        fixations.validate(SIZES)
    assert [problem.first_row for problem in fixations.problems(SIZES)] == [row]


def test_exact_copies_are_found_once_nan_duration_included():
    fixations = sound().select([0, 1, 2, 3, 4, 2, 1, 2])
    (problem,) = fixations.problems(SIZES)
    assert (problem.count, problem.first_row) == (3, 5)
    assert "repeat" in problem.what
    # Not a copy: the same place later in the scanpath.
    again = sound(x=[5, 5, 5, 6, 7], y=[5, 5, 5, 6, 7])
    assert again.problems(SIZES) == ()


def test_all_kinds_are_listed_together():
    fixations = sound(
        x=[np.nan, 79, 500, 6, 7],
        subject=[0, 0, -3, 0, 0],
        fixation_index=[0, 1, 0, 1, 0],
    )
    with pytest.raises(DataError) as error:
        fixations.validate(SIZES)
    message = str(error.value)
    for word in ("NaN", "outside", "negative subject", "do not increase"):
        assert word in message
    assert "\n" not in message
    assert "image 0, subject -3, fixation_index 0, x 500.0, y 5.0" in message


def test_hints_for_swapped_axes_and_counting_from_one():
    swapped = Fixations([0, 0], [0, 0], [0, 1], [10, 20], [70, 30])
    assert "swapped" in swapped.problems(SIZES)[0].advice
    from_one = Fixations([0, 0], [0, 0], [0, 1], [80, 1], [60, 1])
    assert "subtract 1" in from_one.problems(SIZES)[0].advice
    neither = Fixations([0, 0], [0, 0], [0, 1], [200, 0], [60, 1])
    assert "units" in neither.problems(SIZES)[0].advice


def test_image_sizes_must_be_pairs():
    with pytest.raises(InputError, match=r"height and width"):
        sound().validate([60, 80])
