"""PyTorch's nearest resizing: its indices, and where they differ from exact ones."""

import numpy as np
import pytest

from deepgaze_jax import ops

LARGEST = 320

# (in, out, how many indices are one less than i * in // out, the first of them), as
# PyTorch 2.13 has them on a CPU. The first three are resizings that DeepGaze I does: of
# the readout for images of 234, 778 and 970 pixels.
ROUNDED = [
    (30, 58, 1, 29),
    (98, 194, 1, 97),
    (122, 242, 1, 121),
    (2, 82, 1, 41),
    (3, 123, 2, 41),
    (5, 305, 4, 61),
    (18, 222, 4, 37),
    (26, 22, 1, 11),
    (30, 370, 6, 37),
    (33, 407, 7, 37),
    (39, 33, 2, 11),
    (52, 44, 2, 11),
    (62, 14, 1, 7),
    (65, 55, 3, 11),
    (70, 30, 1, 27),
    (78, 66, 3, 11),
]
EXACT = [(1, 1), (1, 97), (7, 7), (7, 41), (41, 7), (96, 192), (128, 256), (192, 768)]


def exact(size_in, size_out):
    return np.arange(size_out) * size_in // size_out


@pytest.mark.parametrize(("size_in", "size_out", "number", "first"), ROUNDED)
def test_pairs_that_rounding_changes(size_in, size_out, number, first):
    found = ops.torch_nearest_index(size_in, size_out)
    less = np.flatnonzero(found != exact(size_in, size_out))
    assert (len(less), less[0]) == (number, first)
    np.testing.assert_array_equal(found[less], exact(size_in, size_out)[less] - 1)


@pytest.mark.parametrize(("size_in", "size_out"), EXACT)
def test_pairs_that_it_does_not(size_in, size_out):
    found = ops.torch_nearest_index(size_in, size_out)
    assert np.issubdtype(found.dtype, np.integer) and found.shape == (size_out,)
    np.testing.assert_array_equal(found, exact(size_in, size_out))


def test_no_pair_is_off_by_more_and_all_indices_exist():
    changed = 0
    for size_in in range(1, LARGEST + 1):
        for size_out in range(1, LARGEST + 1):
            found = ops.torch_nearest_index(size_in, size_out)
            less = exact(size_in, size_out) - found
            assert found[0] == 0 and found[-1] < size_in
            assert less.min() >= 0 and less.max() <= 1
            changed += less.any()
    assert changed == 1938  # of PyTorch's too


def test_it_is_another_nearest_than_that_of_half_pixels():
    assert ops.torch_nearest_index(5, 3).tolist() == [0, 1, 3]
    assert ops.nearest_index(5, 3).tolist() == [0, 2, 4]


@pytest.mark.torch
def test_all_pairs_of_sizes_are_those_of_torch():
    torch = pytest.importorskip("torch")
    changed = 0
    for size_in in range(1, LARGEST + 1):
        row = torch.arange(size_in, dtype=torch.float32)[None, None]
        for size_out in range(1, LARGEST + 1):
            theirs = torch.nn.functional.interpolate(row, size=[size_out])[0, 0]
            theirs = theirs.numpy().astype(np.int64)
            ours = ops.torch_nearest_index(size_in, size_out)
            np.testing.assert_array_equal(ours, theirs, f"{size_in} to {size_out}")
            changed += (theirs != exact(size_in, size_out)).any()
    assert changed == 1938


@pytest.mark.torch
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_pictures_are_resized_alike(layout):
    """Both axes at once, in the two orders in which PyTorch keeps features."""
    torch = pytest.importorskip("torch")
    layouts = {
        "contiguous": torch.contiguous_format,
        "channels_last": torch.channels_last,
    }
    rng = np.random.default_rng(1)
    pairs = [(30, 58, 18, 222), (26, 22, 7, 41), (65, 55, 98, 194)]
    pairs += [tuple(map(int, row)) for row in rng.integers(1, 200, (40, 4))]
    for height, new_height, width, new_width in pairs:
        x = rng.standard_normal((1, 5, height, width)).astype(np.float32)
        rows = ops.torch_nearest_index(height, new_height)
        columns = ops.torch_nearest_index(width, new_width)
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(x).to(memory_format=layouts[layout]),
            size=[new_height, new_width],
        )
        np.testing.assert_array_equal(x[:, :, rows][..., columns], theirs.numpy())


@pytest.mark.torch
@pytest.mark.parametrize("n", [2, 4])
def test_keeping_every_nth_is_a_slice(n):
    torch = pytest.importorskip("torch")
    for size in [*range(n, 260), 767, 768, 1023, 4031]:
        row = torch.arange(size, dtype=torch.float32)[None, None]
        theirs = torch.nn.functional.interpolate(
            row, scale_factor=1 / n, recompute_scale_factor=False
        )[0, 0].numpy()
        np.testing.assert_array_equal(np.arange(size)[: size // n * n : n], theirs)
