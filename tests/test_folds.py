import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgaze_jax.errors import ConfigError, DataError
from deepgaze_jax.folds import Fold, check_disjoint, make_folds

SCHEMES = ["8/1/1", "9/1"]


@given(st.integers(3, 400), st.sampled_from(SCHEMES), st.integers(3, 12))
def test_nothing_leaks_and_everything_is_tested_once(n_images, scheme, n_folds):
    folds = make_folds(n_images, scheme, n_folds)
    assert len(folds) == min(n_folds, n_images)
    everything = np.arange(n_images)
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(np.sort(tested), everything)
    for fold in folds:
        train, validation, test = map(set, (fold.train, fold.validation, fold.test))
        assert train and validation and test
        assert not train & test and not train & validation
        assert train | validation | test == set(everything)
        if scheme == "9/1":
            assert validation == test
        else:
            assert not validation & test
        check_disjoint(fold, validation_is_test=scheme == "9/1")


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (1003, [101] * 9 + [94]),
        (700, [70] * 10),
        (100, [10] * 10),
        # ceil gives 3: eight chunks would hold all of the 22 images.
        (22, [3, 3] + [2] * 8),
        (11, [2] + [1] * 9),
        # ceil gives 2: the tenth chunk has one image, none is empty.
        (19, [2] * 9 + [1]),
        # ceil gives 2: the tenth chunk would be empty.
        (18, [2] * 8 + [1] * 2),
        (10, [1] * 10),
        (7, [1] * 7),
        (3, [1] * 3),
    ],
)
def test_sizes_of_the_chunks(n, sizes):
    assert [len(fold.test) for fold in make_folds(n)] == sizes


def test_the_split_of_the_public_code():
    # Literally the description in words, for MIT1003.
    shuffled = list(range(1003))
    shuffled = np.random.RandomState(42).permutation(shuffled)
    folds = make_folds(1003)
    for k, fold in enumerate(folds):
        test = shuffled[101 * k : 101 * (k + 1)]
        previous = 9 if k == 0 else k - 1
        validation = shuffled[101 * previous : 101 * (previous + 1)]
        assert set(fold.test) == set(test)
        assert set(fold.validation) == set(validation)
    paper = make_folds(1003, "9/1")
    assert all(set(a.test) == set(b.test) for a, b in zip(folds, paper, strict=True))


def test_first_images_of_the_published_shuffle():
    # numpy's legacy shuffle is frozen; these values were written down once.
    assert make_folds(10)[0].test.tolist() == [8]
    assert [int(fold.test[0]) for fold in make_folds(10)] == [
        8, 1, 5, 0, 7, 2, 9, 4, 3, 6,
    ]  # fmt: skip


def test_seed_changes_the_folds():
    a, b = make_folds(50)[0].test, make_folds(50, seed=43)[0].test
    assert a.tolist() != b.tolist()


def test_all_has_one_fold_that_trains_on_everything():
    (fold,) = make_folds(12, "all")
    assert fold.train.tolist() == list(range(12))
    assert len(fold.validation) == len(fold.test) == 0
    check_disjoint(fold)


def test_parts_are_sorted_and_read_only():
    for fold in make_folds(50):
        for part in (fold.train, fold.validation, fold.test):
            assert part.dtype == np.int64
            assert (np.diff(part) > 0).all()
            with pytest.raises(ValueError, match=r"read-only"):
                part[0] = 1


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("scheme", [*SCHEMES, "all"])
def test_too_few_images(n, scheme):
    with pytest.raises(DataError, match=f"has {n} images.*at least 3"):
        make_folds(n, scheme)


def test_impossible_requests():
    with pytest.raises(ConfigError, match=r"'10/1'.*8/1/1, 9/1, all"):
        make_folds(20, "10/1")
    with pytest.raises(ConfigError, match=r"n_folds is 2.*at least 3"):
        make_folds(20, n_folds=2)
    with pytest.raises(ConfigError, match=r"n_folds is 1.*at least 2"):
        make_folds(20, "9/1", n_folds=1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0, 1, 2], [2], [3]), "train and in the validation part, 1 of them.*image 2"),
        (([0, 1, 2], [3], [1, 0]), "train and in the test part, 2 of them.*image 0"),
        (([0, 1, 2], [3], [3]), r"validation and in the test.*image 3 \(d.jpg\)"),
        (([0, 1, 1], [3], [2]), r"twice in the train part.*image 1 \(b.jpg\)"),
    ],
)
def test_check_disjoint_refuses(parts, message):
    with pytest.raises(ConfigError, match=message):
        check_disjoint(Fold(*parts), ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])


def test_check_disjoint_in_the_paper_scheme():
    check_disjoint(Fold([0, 1], [3, 2], [2, 3]), validation_is_test=True)
    with pytest.raises(ConfigError, match=r"differ"):
        check_disjoint(Fold([0, 1], [2], [3]), validation_is_test=True)
    with pytest.raises(ConfigError, match=r"image 1"):
        check_disjoint(Fold([0, 1], [1], [1]), validation_is_test=True)
