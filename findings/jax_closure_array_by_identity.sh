#!/usr/bin/env bash
# JAX recognises a NumPy array of float64 or int64 by its identity if a compiled program closed over it.
# Guess: jnp.asarray(x), or x given as an argument, reads what x holds now.
# Real: as long as a program that closed over x lives, both give what x held when it was compiled, in other
# programs too; once it is gone they give what x holds. A float32 array is read each time.
# Versions: jax and jaxlib 0.10.2, NumPy 2.4.6, Python 3.11.
# Seen: [1. 4.] in place of [4. 16.], as an argument and by jnp.asarray; [4. 16.] after the program is
# deleted.
# Matters to: loops that change parameters in place and sample again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import gc

import jax
import jax.numpy as jnp
import numpy as np


def seen(dtype):
    """What an array of [1, 4] is taken for once it holds [4, 16], and after the program is gone."""
    theta = np.array([1, 4], dtype)
    program = jax.jit(lambda: jnp.asarray(theta) * 1)
    program()
    theta *= 4
    before = [np.asarray(jax.jit(lambda t: t * 1)(theta)), np.asarray(jnp.asarray(theta))]
    del program
    gc.collect()
    after = [np.asarray(jax.jit(lambda t: t * 1)(theta)), np.asarray(jnp.asarray(theta))]
    print(np.dtype(dtype).name, "before", *before, "after", *after)
    return [x.tolist() for x in before], [x.tolist() for x in after]


old, new = [[1, 4]] * 2, [[4, 16]] * 2
assert seen(np.float64) == (old, new)
assert seen(np.int64) == (old, new)
assert seen(np.float32) == (new, new)
PY
