import math

import pytest

from deepgaze_jax.errors import InputError
from deepgaze_jax.visual_angle import pixels_per_dva


def test_a_degree_at_the_middle_of_the_screen():
    # 57.3 cm away, 1 cm is very nearly one degree.
    assert pixels_per_dva(1000, 40, 57.3) == pytest.approx(25, rel=1e-3)
    wide = 2 * math.degrees(math.atan(20 / 57.3))
    assert pixels_per_dva(1000, 40, 57.3) < 1000 / wide


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf])
def test_only_positive_numbers(wrong):
    for place in range(3):
        values = [1000, 40, 60]
        values[place] = wrong
        with pytest.raises(InputError, match="positive"):
            pixels_per_dva(*values)
