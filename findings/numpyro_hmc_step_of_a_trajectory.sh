#!/usr/bin/env bash
# NumPyro's HMC with `num_steps` set takes leapfrogs of trajectory_length / num_steps, not of `step_size`.
# Guess: HMC(step_size=0.1, num_steps=3, adapt_step_size=False) makes three leapfrogs of 0.1.
# Real: `trajectory_length` is 2π unless it is set to None, and the leapfrog becomes 2π/3, which `step_size`
# does not change. With trajectory_length=None it is `step_size`.
# Versions: numpyro 0.22.0, jax 0.10.2, Python 3.11.
# Seen: a free particle with a velocity of standard deviation 1 goes 6.06 for both step sizes, 0.1 and 0.2; with
# None 0.29 and 0.58.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q numpyro==0.22.0 jax==0.10.2
cat > "$folder/leapfrogs.py" <<'PY'
import math

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import hmc

jax.config.update("jax_enable_x64", True)


def potential(x):  # so weak that the particle is free
    return 1e-6 * jnp.sum(x**2)


def moved(step_size, **options):
    """How far a free particle goes in one call, in units of its first velocity."""
    init, sample = hmc(potential, algo="HMC")
    state = init(
        jnp.zeros(1),
        num_warmup=0,
        step_size=step_size,
        num_steps=3,
        adapt_step_size=False,
        adapt_mass_matrix=False,
        rng_key=jax.random.key(0),
        **options,
    )
    path = jax.jit(lambda s: jax.lax.scan(lambda s, _: (sample(s), s.z), s, length=2_000)[1])(state)
    return np.std(np.diff(np.asarray(path)[:, 0]))


for options in ({}, {"trajectory_length": None}):
    for step_size in (0.1, 0.2):
        expected = 3 * step_size if options else 2 * math.pi
        found = moved(step_size, **options)
        print(f"step_size={step_size}, {options or 'trajectory_length not set'}: {found:.3f}")
        np.testing.assert_allclose(found, expected, rtol=0.1)
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/leapfrogs.py"
