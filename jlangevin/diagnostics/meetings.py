"""What the meeting times of coupled chains say about the distance to stationarity."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_count
from jlangevin._core.trees import Numbers
from jlangevin.kernels.coupled import CoupledState
from jlangevin.noise import MAX_STEPS

__all__ = ["Bound", "meeting_times", "total_variation_bound"]


class Bound(NamedTuple):
    """An estimate of an upper bound."""

    value: jax.Array  # the mean over pairs of chains, in the shape of the given times
    mcse: jax.Array  # its Monte Carlo standard error


def meeting_times(state: CoupledState) -> jax.Array:
    """The number of steps after which each pair of coupled chains met, if all have met.

    Args:
        state: `run.state.kernel` of a run of `jlangevin.coupled`.

    Returns:
        τ, int32 (chain,). Under `jit`, where nothing can be raised, -1 for pairs that have not met.

    Raises:
        TypeError: the state of another kernel.
        ValueError: some pairs have not met. A bound without these slow pairs would be wrong.
            `state.meeting_time` has -1 for them.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.quadratic(jnp.eye(2)), jl.coupled(jl.ula(0.2), lag=10)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((20, 2)), num_steps=200)
        >>> jl.diagnostics.meeting_times(run.state.kernel).shape
        (20,)
    """
    if not isinstance(state, CoupledState):
        raise TypeError(
            f"state: expected run.state.kernel of a run of jlangevin.coupled, got "
            f"{type(state).__name__}"
        )
    if trees.is_concrete(state):
        apart = np.asarray(state.meeting_time) < 0
        if apart.any():
            raise ValueError(
                f"state: {apart.sum()} of {apart.size} pairs have not met after "
                f"{int(np.max(state.steps))} steps, and there is no bound without them; continue "
                "with jlangevin.resume(run.state, …), or, if run.info.num_divergent counts them, "
                "use a smaller step size"
            )
    return jnp.asarray(state.meeting_time)


def total_variation_bound(meeting_times: Numbers, lag: int, times: Numbers) -> Bound:
    """A bound on a chain's distance from stationarity (Biswas, Jacob and Vanetti 2019).

        TV(law of X_t, π) ≤ E[ max(0, ⌈(τ - L - t)/L⌉) ]

    π is the stationary law of the coupled kernel: p itself for `mala`; for `ula` the stationary law
    of its own steps, whose distance to p is not in the bound. The law of X_t is over the starts of
    the run. A greater L makes the bound sharper. A bound above 1 says nothing.

    Args:
        meeting_times: τ of independent pairs, (chain,), as `meeting_times` gives them.
        lag: L, as given to `jlangevin.coupled`.
        times: t, whole numbers of any shape.

    Returns:
        A `Bound`: mean and standard error over the n pairs, in the shape of `times`. Both are 0
        after the last pair has met, as n pairs cannot see what happens to fewer than 1 in n. Under
        `jit`, where nothing can be raised, NaN if a pair has not met.

    Raises:
        TypeError: numbers that are not whole.
        ValueError: fewer than two pairs, a pair that has not met, a τ that is not above L, a
            negative t.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.quadratic(jnp.eye(2)), jl.coupled(jl.ula(0.2), lag=10)
        >>> start = jnp.full((500, 2), 5.0)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=200, observe=None)
        >>> tau = jl.diagnostics.meeting_times(run.state.kernel)
        >>> bound = jl.diagnostics.total_variation_bound(tau, 10, jnp.array([0, 10, 30]))
        >>> [round(float(value), 1) for value in bound.value]
        [1.3, 0.3, 0.0]
    """
    lag = check_count("lag", lag, minimum=1)
    tau, t = _whole_numbers("meeting_times", meeting_times), _whole_numbers("times", times)
    if tau.ndim != 1 or tau.size < 2:
        raise ValueError(
            f"meeting_times: expected two pairs or more, (chain,), got shape {tau.shape}"
        )
    if trees.is_concrete(tau) and bool(np.any(np.asarray(tau) <= lag)):
        raise ValueError(
            f"meeting_times: expected times above the lag {lag}, got {int(np.min(tau))}; pairs "
            "that have not met have -1, and there is no bound without them"
        )
    if trees.is_concrete(t) and bool(np.any(np.asarray(t) < 0)):
        raise ValueError(f"times: expected steps of a chain, 0 or more, got {int(np.min(t))}")
    overdue = jnp.expand_dims(tau, tuple(range(1, 1 + t.ndim))) - lag - t[None]
    terms = jnp.maximum(-(-overdue // lag), 0).astype(float)
    terms = jnp.where(jnp.all(tau > lag), terms, jnp.nan)
    return Bound(terms.mean(0), terms.std(0, ddof=1) / tau.size**0.5)


def _whole_numbers(name: str, value: Numbers) -> jax.Array:
    # By NumPy, as JAX would cut 64-bit numbers to 32 bits.
    array = value if isinstance(value, jax.Array) else np.asarray(trees.own(name, value))
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected whole numbers, got dtype {array.dtype}")
    if trees.is_concrete(array) and np.any(np.asarray(array) > MAX_STEPS):
        raise ValueError(
            f"{name}: expected numbers below 2**31, got {np.max(array)}, as a stream has no more "
            "steps"
        )
    return jnp.asarray(array).astype(jnp.int32)
