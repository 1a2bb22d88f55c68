"""log Z by annealed importance sampling from a law whose normaliser is known, and back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jlangevin._core.checks import check_key, check_known, check_probability
from jlangevin._core.trees import Numbers, PyTree
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy, check_callable
from jlangevin.kernels.base import WithTemperature
from jlangevin.kernels.nesting import check_inside
from jlangevin.normalizer.estimates import bennett, jarzynski
from jlangevin.normalizer.path import Path, Scaled, as_base, path
from jlangevin.normalizer.report import LogZ, Weights, shifted
from jlangevin.sampling import Run

__all__ = ["log_normalizer", "log_ratio"]

_NUM_STEPS = 1_000


def log_normalizer(
    key: jax.Array,
    energy: Energy,
    kernel: WithTemperature,
    base: Drawable,
    *,
    num_steps: int | None = None,
    levels: Numbers | None = None,
    num_chains: int = 1_000,
    draws: PyTree = None,
    confidence: float = 0.99,
    sharding: Mesh | NamedSharding | None = None,
    progress: bool | Literal["always"] = False,
) -> LogZ:
    """log Z = log ∫ exp(-E(x)/T) dx by annealed importance sampling (Neal 2001), and its reverse.

    Independent chains begin with exact draws of a base p_0 whose density is known, and move while
    its energy turns into E, one step of `kernel` at each of n levels 0 < β_1 < … < β_n = 1:

        p_β ∝ p_0^(1-β) exp(-β E/T)
        log w = -Σ_t (β_t - β_{t-1}) (E(x_{t-1})/T + log p_0(x_{t-1}))

    x_t being where the chain is after step t. Then E[w] = Z, so that log of the mean of w is below
    log Z in expectation. With `draws` of exp(-E/T), other chains go the same way back, which gives
    an upper bound and, by `bennett`, a better estimate from both. More levels bring the two
    together. The base is better too wide than too narrow, and the step size is to be right for both
    ends, or a schedule.

    Without `draws` nothing can show that all chains have missed a mode, and that log Z is larger.

    Args:
        key: a typed Threefry key. The first of its two halves, `jax.random.split(key)`, is for the
            way there, as in `path(…).forward`, the second for the way back: a chain's weight
            depends on key and number alone.
        energy: E, a callable as in `sample`.
        kernel: one that accepts or rejects, such as `mala` or `malt`, see `switched`; its
            temperature is T.
        base: p_0, a `Gaussian` with a regular covariance, or an energy with an exact sampler and
            `log_z`.
        num_steps: n, for the levels (t/n)²; 1,000 by default.
        levels: instead 0 = β_0 < … < β_n = 1. See `tuned_levels`.
        num_chains: chains on the way there, and on the way back if `draws` is a law.
        draws: exact or nearly exact draws of exp(-E/T): positions with a leading chain axis, from
            independent chains; or an energy with an exact sampler, as `energy` itself may be.
        confidence: of the interval, and of the bounds.
        sharding, progress: as in `sample`.

    Returns:
        `LogZ`.

    Raises:
        TypeError: a key, energy or kernel that is none; a kernel that accepts everything, has walls
            or counts steps; a base that cannot be drawn from or whose normaliser is not known.
        ValueError: levels that do not rise from 0 to 1; weights that are NaN as the energy is;
            draws at which the energy is not finite; and as `sample`.

    Warns:
        NormalizerWarning: the result has `problems`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.rosenbrock(a=0.5, b=1.0)
        >>> base = jl.Gaussian(jnp.array([1.0, 2.0]), jnp.diag(jnp.array([2.0, 9.0])))
        >>> found = jl.log_normalizer(jax.random.key(0), energy, jl.mala(0.1), base, draws=energy,
        ...                           num_steps=300, num_chains=500)
        >>> found.ok, found.interval[0] < float(energy.log_z) < found.interval[1]
        (True, True)
    """
    check_key("key", key)
    check_callable(energy)
    check_inside("switched", kernel)
    known = as_base(base)
    temperature = kernel.temperature
    if num_steps is None and levels is None:
        num_steps = _NUM_STEPS
    way = path(
        Scaled(known.energy, temperature), energy, kernel, num_steps=num_steps, levels=levels
    )
    found = _there_and_back(key, way, known.law, num_chains, draws, confidence, sharding, progress)
    found = shifted(found, float(known.log_z), "log Z", temperature)
    found.warn()
    return found


def log_ratio(
    key: jax.Array,
    energy: Energy,
    to: Energy,
    kernel: WithTemperature,
    draws: PyTree,
    *,
    num_steps: int | None = None,
    levels: Numbers | None = None,
    num_chains: int = 1_000,
    draws_to: PyTree = None,
    confidence: float = 0.99,
    sharding: Mesh | NamedSharding | None = None,
    progress: bool | Literal["always"] = False,
) -> LogZ:
    """log Z'/Z of two energies, from chains that begin with draws of the one and go to the other.

        Z = ∫ exp(-E(x)/T) dx,    Z' = ∫ exp(-E'(x)/T) dx

    The difference of free energies is `LogZ.free_energy`, -T log Z'/Z. One direction alone gives it
    by Jarzynski's equality, both by Bennett's ratio on what Crooks' theorem says, as in
    `log_normalizer`; no normaliser need be known. With `levels=[0, 1]` chains are weighed before
    they move: free-energy perturbation (Zwanzig 1954).

    Args:
        key, num_steps, levels, num_chains, confidence, sharding, progress: as in `log_normalizer`.
        energy, to: E and E', callables as in `sample`.
        kernel: as in `log_normalizer`.
        draws: of exp(-E/T): positions with a leading chain axis, from independent chains, or a law
            with an exact sampler.
        draws_to: likewise of exp(-E'/T), for the way back; None for the way there alone.

    Returns:
        `LogZ`.

    Raises:
        TypeError, ValueError: as `log_normalizer`.

    Warns:
        NormalizerWarning: the result has `problems`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> one, other = jl.energies.quadratic(jnp.eye(2)), jl.energies.quadratic(2 * jnp.eye(2))
        >>> found = jl.normalizer.log_ratio(jax.random.key(0), one, other, jl.mala(0.3), one,
        ...                                 draws_to=other, num_steps=50)
        >>> round(found.value, 1)  # log 1/2
        -0.7
    """
    check_key("key", key)
    check_callable(energy)
    check_callable(to, "to")
    if num_steps is None and levels is None:
        num_steps = _NUM_STEPS
    way = path(energy, to, kernel, num_steps=num_steps, levels=levels)
    found = _there_and_back(key, way, draws, num_chains, draws_to, confidence, sharding, progress)
    temperature = kernel.temperature
    found = shifted(found, 0.0, "log Z'/Z", temperature)
    found.warn()
    return found


def _there_and_back(
    key: jax.Array,
    way: Path,
    init: Drawable | PyTree,
    num_chains: int,
    draws: PyTree,
    confidence: float,
    sharding: Mesh | NamedSharding | None,
    progress: bool | Literal["always"],
) -> LogZ:
    check_known("log Z is estimated on the host", key=key, energy=way)
    check_probability("confidence", confidence)
    there, back = jax.random.split(key)

    def count(start: PyTree) -> int | None:
        return num_chains if isinstance(start, Drawable) else None

    forward = way.forward(there, init, num_chains=count(init), sharding=sharding, progress=progress)
    weights = forward.state.kernel.log_weight
    if draws is None:
        found = jarzynski(weights, confidence=confidence)
        return _with_reports(found, forward, None)
    with _note_on_errors():
        reverse = way.reverse(
            back, draws, num_chains=count(draws), sharding=sharding, progress=progress
        )
    found = bennett(weights, reverse.state.kernel.log_weight, confidence=confidence)
    return _with_reports(found, forward, reverse)


@contextlib.contextmanager
def _note_on_errors() -> Iterator[None]:
    """Say what `init` is, in errors of the way back."""
    try:
        yield
    except Exception as error:
        error.add_note("jlangevin: on the way back, init is the draws that were given for it")
        raise


def _with_reports(found: LogZ, forward: Run, reverse: Run | None) -> LogZ:
    """`found` with what the kernel reported in both runs."""
    problems = list(found.problems)

    def reported(weights: Weights | None, run: Run | None) -> Weights | None:
        if weights is None or run is None or run.info.acceptance_rate is None:
            return weights
        rate = float(np.mean(np.asarray(run.info.acceptance_rate)))
        return dataclasses.replace(weights, acceptance=rate)

    for name, run in (("there", forward), ("back", reverse)):
        if run is None or run.info.rejections is None:
            continue
        faults = int(np.sum(np.asarray(run.info.rejections.faults)))
        if faults:
            problems.append(
                f"on the way {name} the energy or its gradient is NaN at {faults:,} proposals, "
                "which were rejected"
            )
    return dataclasses.replace(
        found,
        forward=reported(found.forward, forward),
        reverse=reported(found.reverse, reverse),
        problems=tuple(problems),
    )
