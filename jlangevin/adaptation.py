"""Warm-up: hyper-parameters found by running, and frozen for the run that counts.

A kernel that goes on changing with its own past has another law. So adaptation is a run of its own:
`warm_up` hands back a kernel with fixed hyper-parameters and the state to go on from.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jlangevin import reducers, trees
from jlangevin._checks import check_count, check_key, check_scalar
from jlangevin.errors import AdaptationError
from jlangevin.kernels.base import Energy, has_schedule
from jlangevin.kernels.preconditioner import as_preconditioner
from jlangevin.sampling import Run, SamplerState, resume, sample

__all__ = ["WarmUp", "curvature", "warm_up"]

_PIECE = 10  # steps between two looks at the acceptance rate


class WarmUp(NamedTuple):
    """What `warm_up` found."""

    kernel: Any  # the kernel given, with step size and preconditioner set
    state: SamplerState  # for `resume` with that kernel
    step_sizes: np.ndarray[Any, Any]  # tried, one for each ten steps
    acceptance: np.ndarray[Any, Any]  # their mean acceptance rates


class _DualAveraging:
    """Nesterov's dual averaging of log η (Hoffman and Gelman 2014), with their constants."""

    def __init__(self, step_size: float, target: float) -> None:
        self.centre = math.log(10 * step_size)
        self.target, self.count, self.error = target, 0, 0.0
        self.log_step, self.log_mean = math.log(step_size), 0.0

    def update(self, acceptance: float) -> None:
        self.count += 1
        weight = 1 / (self.count + 10)
        self.error += weight * (self.target - acceptance - self.error)
        self.log_step = self.centre - math.sqrt(self.count) / 0.05 * self.error
        forget = self.count**-0.75
        self.log_mean += forget * (self.log_step - self.log_mean)


def warm_up(
    key: jax.Array,
    energy: Energy,
    kernel: Any,
    init: Any,
    *,
    num_steps: int = 1_000,
    num_chains: int | None = None,
    target_acceptance: float = 0.574,
    precondition: Literal["diagonal", "dense"] | None = "diagonal",
    sharding: Any = None,
) -> WarmUp:
    """Find a step size, and a preconditioner, for a kernel that accepts or rejects.

    Every ten steps the step size is moved towards `target_acceptance` by dual averaging. The rate
    is a mean over all chains; in the first 15% of the steps over the tenth of them that accepts
    least, so that few stay behind at bad starts. The preconditioner is the covariance of all chains
    over windows that double in length; the first 15% and the last 10% of the steps are for the
    step size alone. A proposal that is not finite counts as one that is rejected, no more.

    A chain that was left behind all the same (its own acceptance rate is near 0) widens the
    preconditioner for all: look at `run.info.acceptance_rate` of the run that follows.

    Args:
        key: a typed Threefry key. The run that follows by `resume` goes on in its streams.
        energy, init, num_chains, sharding: as in `sample`.
        kernel: one with a step size and acceptance rates (`mala`, `barker`, `malt`), the step size
            the first that is tried.
        num_steps: steps in all, at least 200.
        target_acceptance: in (0, 1). 0.574 is best for `mala` in many dimensions (Roberts and
            Rosenthal 1998).
        precondition: by the diagonal of the covariance, by all of it, or not at all.

    Returns:
        A `WarmUp`.

    Raises:
        TypeError: a kernel without a step size, acceptance rates or, if one is to be found,
            preconditioner.
        ValueError: numbers out of range, a scheduled step size; as `sample` otherwise.
        AdaptationError: no proposal was accepted, however small the step.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 1e4])))
        >>> found = jl.warm_up(jax.random.key(0), energy, jl.mala(1e-3), jnp.zeros((100, 2)))
        >>> run = jl.resume(found.state, energy, found.kernel, num_steps=100)
        >>> abs(float(run.info.acceptance_rate.mean()) - 0.574) < 0.1
        True
    """
    check_key("key", key)
    num_steps = check_count("num_steps", num_steps, minimum=200)
    check_scalar("target_acceptance", target_acceptance, positive=True)
    if not float(target_acceptance) < 1:
        raise ValueError(f"target_acceptance: expected a rate below 1, got {target_acceptance}")
    if precondition not in (None, "diagonal", "dense"):
        raise ValueError(
            f'precondition: expected "diagonal", "dense" or None, got {precondition!r}'
        )
    if not hasattr(kernel, "step_size"):
        raise TypeError(f"kernel: {type(kernel).__name__} has no step size to adapt")
    if has_schedule(kernel):
        raise ValueError("kernel: a scheduled hyper-parameter cannot be adapted; pass a number")
    if precondition is not None and not hasattr(kernel, "preconditioner"):
        raise TypeError(
            f"kernel: {type(kernel).__name__} has no preconditioner; pass precondition=None"
        )
    covariance = reducers.pooled(reducers.moments(_raveled, covariance=precondition == "dense"))
    averaging = _DualAveraging(float(kernel.step_size), float(target_acceptance))
    pieces = num_steps // _PIECE
    settled = math.ceil(0.15 * pieces)
    begins, ends = _windows(pieces) if precondition is not None else ([], [])
    tried: list[float] = []
    rates: list[float] = []
    state: SamplerState | None = None
    for piece in range(pieces):
        kernel = _with_step(kernel, math.exp(averaging.log_step))
        if state is None:
            run = sample(
                key,
                energy,
                kernel,
                init,
                num_steps=_PIECE,
                num_chains=num_chains,
                observe=None,
                reducers=covariance,
                sharding=sharding,
            )
        else:
            run = resume(state, energy, kernel, num_steps=_PIECE, observe=None, reducers=covariance)
        rate = _acceptance(run, kernel, cautious=piece < settled)
        tried.append(math.exp(averaging.log_step))
        rates.append(rate)
        averaging.update(rate)
        if averaging.log_step < averaging.centre - math.log(1e9) and max(rates[-5:]) == 0:
            raise AdaptationError(
                f"step_size: no proposal was accepted down to {tried[-1]:.1e}; is the energy "
                "finite around the starts?"
            )
        state = _forget(run.state)
        if piece + 1 in ends:
            kernel = _preconditioned(kernel, run, precondition)
            dim = run.summary.value.mean.shape[0]
            averaging = _DualAveraging(dim ** (-1 / 3), float(target_acceptance))
        if piece + 1 in begins:
            state = state._replace(reducers=None)
    assert state is not None
    kernel = _with_step(kernel, math.exp(averaging.log_mean))
    return WarmUp(kernel, state._replace(reducers=None), np.array(tried), np.array(rates))


def _raveled(state: Any) -> jax.Array:
    return trees.ravel(state.position)


def _windows(pieces: int) -> tuple[list[int], list[int]]:
    """After which pieces windows begin and end, each twice as long as the one before."""
    first, last = math.ceil(0.15 * pieces), pieces - math.ceil(0.1 * pieces)
    bounds, length = [first], 5
    while bounds[-1] + 3 * length <= last:
        bounds.append(bounds[-1] + length)
        length *= 2
    return bounds, [*bounds[1:], last]


def _with_step(kernel: Any, step_size: float) -> Any:
    return dataclasses.replace(kernel, step_size=np.float32(step_size))


def _acceptance(run: Run, kernel: Any, cautious: bool) -> float:
    """The mean over chains; if `cautious` over the tenth that accepts least.

    While chains are on their way from bad starts, a step that suits most of them leaves a few
    where they are, and these would then be taken for the width of the target.
    """
    if run.info.acceptance_rate is None:
        raise TypeError(
            f"kernel: {type(kernel).__name__} accepts everything, so there is no acceptance rate "
            "to aim at; see adaptation.curvature for its step size"
        )
    rates = run.info.acceptance_rate
    if cautious:
        rates = jnp.sort(rates)[: math.ceil(rates.size / 10)]
    return float(jnp.mean(rates))


def _forget(state: SamplerState) -> SamplerState:
    """`state` with nothing counted yet, as at the start of a run."""
    tally = state.tally
    return state._replace(
        tally=tally._replace(
            num_steps=jnp.zeros_like(tally.num_steps),
            acceptance=jnp.zeros_like(tally.acceptance),
        )
    )


def _preconditioned(kernel: Any, run: Run, precondition: str | None) -> Any:
    """With the covariance of a window, drawn a little towards a small multiple of the identity."""
    moments, num_chains, _ = run.summary
    count = int(run.state.tally.num_draws) * int(num_chains)
    shrunk = moments.variance * (count / (count + 5))
    little = 5e-3 / (count + 5)
    if precondition == "dense":
        shape: Any = shrunk + little * jnp.eye(shrunk.shape[0], dtype=shrunk.dtype)
    else:
        one_chain = jax.tree.map(lambda leaf: leaf[0], run.position)
        shape = ravel_pytree(one_chain)[1](shrunk + little)
    return dataclasses.replace(kernel, preconditioner=as_preconditioner(shape))


def curvature(energy: Energy, position: Any, *, num_iterations: int = 50) -> jax.Array:
    """The largest eigenvalue of ∇²E at a position, in absolute value, by power iteration.

    A kernel that accepts everything is stable on a quadratic energy iff η λ_max < 2, and biased by
    δ = z/2 / (1 - z/2) in the variance along that eigenvector, z = η λ_max: for a wanted bias δ
    take η = 2 δ / ((1 + δ) λ_max). Each iteration costs a gradient's derivative along a vector,
    about two gradients.

    Args:
        energy: a callable from a position to a scalar, twice differentiable.
        position: where, a pytree of arrays; a mode, or a draw.
        num_iterations: enough where the largest eigenvalue is not alone.

    Raises:
        ValueError: `num_iterations` below 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 50.0])))
        >>> round(float(jl.adaptation.curvature(energy, jnp.zeros(2))), 3)
        50.0
    """
    num_iterations = check_count("num_iterations", num_iterations, minimum=1)
    flat, unravel = ravel_pytree(trees.as_position("position", position))

    def gradient(x: jax.Array) -> jax.Array:
        return trees.ravel(jax.grad(energy)(unravel(x)))

    def iterate(_: Any, v: jax.Array) -> jax.Array:
        turned = jax.jvp(gradient, (flat,), (v,))[1]
        return turned / jnp.linalg.norm(turned)

    start = jnp.cos(jnp.arange(1, flat.size + 1).astype(flat.dtype))  # orthogonal to none by design
    v = jax.lax.fori_loop(0, num_iterations, iterate, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(jax.jvp(gradient, (flat,), (v,))[1])
