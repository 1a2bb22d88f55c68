#!/usr/bin/env bash
# thermox samples an Ornstein-Uhlenbeck process exactly only where D^(-1/2) A D^(1/2) is symmetric.
# Guess: `thermox.sample(key, ts, x0, A, b, D)` draws from dx = -A (x - b) dt + N(0, D dt), whatever D is,
# so that over a long time the covariance S solves A S + S Aᵀ = D.
# Real: with a symmetric A and D = diag(1, 4) the covariance after one long interval is another one. With
# D = I it is right.
# Versions: thermox 0.0.6, jax 0.10.2, scipy 1.17.1, Python 3.11. 40,000 draws, standard errors below 0.02.
# Seen: D = I: variances 0.286 and 0.575, correlation -0.35, for 0.286, 0.571 and -0.35; D = diag(1, 4): 0.312,
# 2.503 and -0.44, for 0.357, 2.214 and -0.48.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q thermox==0.0.6 jax==0.10.2 scipy==1.17.1
cat > "$folder/covariances.py" <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
import thermox
from scipy.linalg import solve_continuous_lyapunov

jax.config.update("jax_enable_x64", True)
A = jnp.array([[2.0, 0.5], [0.5, 1.0]])
NUM = 40_000


def after(times, D):
    """The covariance at the last of the times, from 0."""
    keys = jax.random.split(jax.random.key(0), NUM)
    last = jax.jit(jax.vmap(lambda key: thermox.sample(key, times, jnp.zeros(2), A, jnp.zeros(2), D)[-1]))
    return np.cov(np.asarray(last(keys)).T)


def shown(S):
    return f"variances {S[0, 0]:.3f} {S[1, 1]:.3f}, correlation {S[0, 1] / np.sqrt(S[0, 0] * S[1, 1]):.2f}"


for D, right in ((jnp.eye(2), True), (jnp.diag(jnp.array([1.0, 4.0])), False)):
    expected = solve_continuous_lyapunov(np.asarray(A), np.asarray(D))
    found = after(jnp.array([0.0, 30.0]), D)
    print(f"D = diag({D[0, 0]:.0f}, {D[1, 1]:.0f}): {shown(found)}; expected {shown(expected)}")
    off = np.max(np.abs(found - expected))
    assert (off < 0.06) if right else (off > 0.1), off
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/covariances.py"
