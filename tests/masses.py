"""A mass in each of its forms, for a position of two elements."""

import jax.numpy as jnp
import numpy as np

M = [[2.0, 0.4], [0.4, 1.2]]
MASSES = {"number": 1.4, "diagonal": [0.5, 2.0], "dense": M}


def mass_of(form):
    return 1.4 if form == "number" else jnp.array(MASSES[form])


def matrix_of(form):
    given = np.array(MASSES[form])
    return given if given.ndim == 2 else np.diag(np.broadcast_to(given, 2))
