#!/usr/bin/env bash
# jaxlib 0.10.2 on the CPU computes sums over the rows of an array wrongly from its element 32,768 on.
# Guess: a reduction is right, or wrong by rounding; if a size matters it is the number of rows.
# Real: in 9 columns the rows from 3,640 on are off (elements count, not rows), without an error, for
# sums of logarithms, exponentials or tanh with squares. The option that leaves XLA's YNNPACK fusions
# out, xla_cpu_experimental_ynn_fusion_type="", makes them right; 0.12.0.1 is right without it.
# Versions: jax and jaxlib 0.10.2 on Python 3.11, NumPy 2.4.6.
# Seen: 1,359 of 5,000 rows wrong, by up to 47, the first of them row 3,640 counted from 0; none with the option.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

weights = np.arange(1.0, 10.0).astype(np.float32)
x = np.random.default_rng(0).uniform(0.1, 1, (5_000, 9)).astype(np.float32)
right = -(weights * np.log(x.astype(float))).sum(1) + (x.astype(float) ** 2).sum(1)


def row(x):
    return -jnp.sum(weights * jnp.log(x)) + jnp.sum(x**2)


def wrong(options):
    found = np.asarray(jax.jit(jax.vmap(row), compiler_options=options)(x), float)
    return np.flatnonzero(np.abs(found - right) > 1e-2)


rows = wrong(None)
print(len(rows), "rows wrong, from row", rows[:1], "on")
assert len(rows) > 1_000
assert rows[0] * 9 <= 32_768 + 9 and rows[0] * 9 >= 32_768 - 9
assert len(wrong({"xla_cpu_experimental_ynn_fusion_type": ""})) == 0
PY
