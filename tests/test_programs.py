"""Compiled programs are forgotten when many sizes have come."""

import gc
import weakref

import numpy as np

from deepgaze_jax.architectures import icf
from deepgaze_jax.programs import N_SIZES, features_program, log_density_program


def test_programs_of_old_sizes_are_given_up():
    model = icf()
    program = features_program(model, (64, 64))
    assert program({}, np.zeros((64, 64, 3), np.float32)).shape[-1] == model.channels
    assert features_program(model, (64, 64)) is program
    old = weakref.ref(program)
    del program
    for width in range(65, 65 + N_SIZES):
        features_program(model, (64, width))
    gc.collect()
    assert old() is None
    assert features_program.cache_info().currsize == N_SIZES
    assert log_density_program.cache_info().maxsize == N_SIZES
