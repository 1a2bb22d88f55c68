#!/usr/bin/env bash
# A guard by isnan against inf - inf does not hold in a program that XLA compiled for the CPU.
# Guess: sum(a * b) with one product +inf and the other -inf is NaN, compiled or not.
# Real: operation by operation it is NaN; compiled, product and sum are one fused operation, which
# rounds once: fma(1e30, -1e30, +inf) is +inf. An accept step that rejects only NaN then accepts.
# Versions: jax and jaxlib 0.10.2, Python 3.11, x86-64 CPUs that have fused multiply-add.
# Seen: nan by itself and inf under jax.jit for a = [1e20, 1e30], b = [1e20, -1e30] in float32; the
# same in float64 with 1e200 and 1e250.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp

for dtype, small, large in (("float32", 1e20, 1e30), ("float64", 1e200, 1e250)):
    a = jnp.array([small, large], dtype)
    b = jnp.array([small, -large], dtype)
    by_itself = jnp.sum(a * b)
    compiled = jax.jit(lambda a, b: jnp.sum(a * b))(a, b)
    print(dtype, "by itself", by_itself, "compiled", compiled)
    assert jnp.isnan(by_itself)
    assert compiled == jnp.inf
PY
