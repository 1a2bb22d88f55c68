"""Normalisers of many states at once, from draws of all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import special

from jlangevin import distribution
from jlangevin._core import trees
from jlangevin._core.checks import (
    as_array,
    as_host,
    check_key,
    check_known,
    check_no_run,
    check_probability,
)
from jlangevin._core.trees import Numbers, PyTree
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy, check_energy_on
from jlangevin.energies.traced import energy_values
from jlangevin.kernels.tempered import as_ladder
from jlangevin.normalizer.path import as_base

__all__ = ["Multistate", "multistate", "tempered_log_z"]

Floats = NDArray[np.float64]

MIN_FLOW = 0.03  # of the draws on one side of a gap, that might be from the other
_ROUNDS = 200


@dataclasses.dataclass(frozen=True)
class Multistate:
    """The result of `multistate`; printed, it is a table.

    Attributes:
        log_z: of each state, (k,), less that of the first, whose own entry is 0.
        cov: the covariance of their errors, (k, k).
        overlap: (k, k), the share of draws of state i that are, by what is known of them, of state
            j; rows sum to 1.
        num_chains: chains, between which the errors were measured.
        confidence: of intervals.
        labels: what each state is, in words.
        problems: why this is not to be believed and what to do, a sentence or two each.
    """

    log_z: Floats
    cov: Floats
    overlap: Floats
    num_chains: int
    confidence: float
    labels: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the estimates and their errors."""
        return not self.problems

    @property
    def std_error(self) -> Floats:
        """Of `log_z`, (k,)."""
        return np.sqrt(np.diagonal(self.cov))

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """(low, high) of `log_z`, by Student's t with a degree of freedom less than chains."""
        spread = self._quantile * self.std_error
        return self.log_z - spread, self.log_z + spread

    def difference(self, state: int, other: int = 0) -> tuple[float, float]:
        """log Z_state - log Z_other, and its standard error."""
        contrast = np.zeros(len(self.log_z))
        contrast[state] += 1
        contrast[other] -= 1
        variance = float(np.dot(contrast, np.dot(self.cov, contrast)))
        return float(np.dot(contrast, self.log_z)), math.sqrt(max(variance, 0.0))

    @property
    def _quantile(self) -> float:
        return float(special.stdtrit(self.num_chains - 1, 0.5 + self.confidence / 2))

    def __str__(self) -> str:
        share, (low, high) = f"{100 * self.confidence:g}%", self.interval
        title = "normalisers of many states, less the first"
        lines = [title if self.ok else f"{title}: NOT known well"]
        lines.append(f"  {'state':<16}{'log Z':>12}{'± error':>10}   {share}")
        for k, label in enumerate(self.labels):
            line = f"  {label:<16}{self.log_z[k]:>12.5g}{self.std_error[k]:>10.2g}"
            lines.append(line + f"   [{low[k]:.5g}, {high[k]:.5g}]")
        lines += [f"  problem     {problem}" for problem in self.problems]
        return "\n".join(lines)


def multistate(
    energies: Numbers, *, confidence: float = 0.99, labels: Sequence[object] | None = None
) -> Multistate:
    """The normalisers of k states from draws of all of them (MBAR; Shirts and Chodera 2008).

    u_j is the reduced energy of state j, whose law is exp(-u_j(x))/Z_j; E_j/T_j, for instance. With
    N draws of each state, the estimates f_j = -log Z_j solve

        Σ_x p_j(x) = N,    p_j(x) = exp(f_j - u_j(x)) / Σ_i exp(f_i - u_i(x))

    over the draws x of all states: the likeliest ones, of the smallest variance of all that use
    these draws. For two states it is Bennett's ratio. The errors are measured between chains, as
    those of one chain are correlated in time, and across states if they swap: to first order the
    error of f is a sum over chains, whose covariance is that of the sums of p over each chain.

    Args:
        energies: u_j of every draw, (chain, draw, state that it is of, state j), of two chains or
            more, which are independent; +inf where a state's density is 0. States are in an order
            in which neighbours are alike.
        confidence: of intervals, in (0, 1).
        labels: a name for each state; by default their numbers.

    Returns:
        `Multistate`. If for some k draws of the first k states and of the others hardly overlap
        (less than 3%; Klimovich, Shirts and Mobley 2015), that is among its `problems`.

    Raises:
        TypeError: energies that are no numbers.
        ValueError: a wrong shape, one chain or one state alone, energies that are NaN or -inf, or
            +inf for the state that a draw is of.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> widths = jnp.array([[[1.0, 2.0, 4.0]]])
        >>> x = jax.random.normal(jax.random.key(0), (8, 500, 3)) * widths  # of three Gaussians
        >>> u = 0.5 * (x[..., None] / widths[..., None, :])**2  # of each draw in each state
        >>> found = jl.normalizer.multistate(u)
        >>> [round(float(z), 1) for z in found.log_z]  # log of 1, 2, 4
        [0.0, 0.7, 1.4]
    """
    u = _as_energies(energies)
    level = check_probability("confidence", confidence)
    chains, draws, states, _ = u.shape
    names = tuple(map(str, range(states))) if labels is None else tuple(map(str, labels))
    if len(names) != states:
        raise ValueError(f"labels: expected {states}, one a state, got {len(names)}")
    rows = u.reshape(-1, states)
    f, p = _solve(rows, chains * draws)
    curvature = np.diag(p.sum(0)) - np.dot(p.T, p)
    sums = p.reshape(chains, -1, states).sum(1)  # of each chain
    sums = (sums - sums.mean(0))[:, 1:]
    inverse = np.linalg.pinv(curvature[1:, 1:], hermitian=True)
    spread = chains / (chains - 1) * np.dot(sums.T, sums)
    cov = np.zeros((states, states))
    cov[1:, 1:] = np.dot(inverse, np.dot(spread, inverse))
    overlap = p.reshape(-1, states, states).mean(0)
    problems = tuple(
        f"draws of {names[k - 1]} and those before hardly overlap with those of {names[k]} and "
        f"after ({flow:.1%}); add a state between them"
        for k in range(1, states)
        if (flow := float(min(overlap[:k, k:].sum(), overlap[k:, :k].sum()))) < MIN_FLOW
    )
    return Multistate(0.0 - f, cov, overlap, chains, level, names, problems)


def _as_energies(energies: Numbers) -> Floats:
    check_no_run("energies", energies, "the energies of its draws in all states")
    check_known("normalisers are estimated on the host", energies=energies)
    as_array("energies", energies)  # raises unless these are numbers
    u = np.asarray(as_host("energies", energies), np.float64)
    if u.ndim != 4 or u.shape[2] != u.shape[3] or 0 in u.shape:
        raise ValueError(
            f"energies: expected shape (chain, draw, state, state), got {u.shape}; the third axis "
            "is the state that a draw is of, the last that in which its energy was taken"
        )
    if u.shape[0] < 2 or u.shape[2] < 2:
        raise ValueError(
            f"energies: expected two chains and two states or more, got {u.shape[0]} and "
            f"{u.shape[2]}; errors are measured between chains"
        )
    if np.isnan(u).any() or (u == -np.inf).any():
        raise ValueError("energies: expected numbers or +inf, got NaN or -inf")
    own = np.einsum("cdkk->cdk", u)
    if np.isinf(own).any():
        k = int(np.argmax(np.isinf(own).any((0, 1))))
        raise ValueError(
            f"energies: a draw of state {k} has the energy +inf there, where its law has no draws"
        )
    return u


def _solve(u: Floats, number: int) -> tuple[Floats, Floats]:
    """f with f_0 = 0, and p at every draw, by Newton's method on a convex function of f.

    It is Σ_x log Σ_j exp(f_j - u_j(x)) - N Σ_j f_j, whose gradient is Σ_x p_j(x) - N.
    """
    f = np.zeros(u.shape[1])

    def at(f: Floats) -> tuple[float, Floats]:
        exponents = f - u
        total = special.logsumexp(exponents, axis=1)
        return float(np.sum(total) - number * np.sum(f)), np.exp(exponents - total[:, None])

    value, p = at(f)
    for _ in range(_ROUNDS):
        sums = p.sum(0)
        slope = sums - number
        if np.max(np.abs(slope)) < 1e-9 * number:
            break
        curvature = np.diag(sums) - np.dot(p.T, p)
        newton = np.zeros_like(f)
        newton[1:] = np.linalg.lstsq(curvature[1:, 1:], -slope[1:], rcond=None)[0]
        again = np.log(number) - np.log(np.maximum(sums, 1e-300))  # the equations' own iteration
        again -= again[0]
        steps = [newton * 0.5**k for k in range(4)] + [again]
        tried = [(f + step, *at(f + step)) for step in steps if np.all(np.isfinite(step))]
        f, new, p = min(tried, key=lambda each: each[1])
        if new >= value - 1e-14 * abs(value) and np.max(np.abs(slope)) < 1e-6 * number:
            break
        value = new
    return f, p


def tempered_log_z(
    key: jax.Array,
    energy: Energy,
    draws: PyTree,
    temperatures: Numbers,
    base: Drawable,
    *,
    confidence: float = 0.99,
) -> Multistate:
    """log Z = log ∫ exp(-E(x)/T) dx at every temperature of a ladder, from the draws of `tempered`.

    A base whose normaliser is known, and as many exact draws of it, are one more state next to the
    hottest, so that all of `multistate` is relative to log Z = 0. It is to be like exp(-E/T_K): the
    hotter the ladder ends, the wider the base.

    Args:
        key: for the draws of the base.
        energy: E, a callable as in `sample`.
        draws: positions at all temperatures after burn-in, leaves (chain, draw, …, K), as
            `observe=lambda state: state.states.position` keeps them; of two chains or more.
        temperatures: T_1 < … < T_K, those of the kernel.
        base: as in `log_normalizer`.
        confidence: of intervals.

    Returns:
        `Multistate` with the states "base", "T = T_K", …, "T = T_1": the last entry of its `log_z`
        is that of T_1, `difference(-1)` with its standard error.

    Raises:
        TypeError, ValueError: arguments as in `log_normalizer`; draws that do not have a last axis
            of K temperatures, or of one chain alone.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.gaussian_mixture([[-5.0], [5.0]], 1.0)
        >>> ladder, start = [1.0, 3.0, 9.0], jl.Gaussian(jnp.zeros(1), 50 * jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), energy, jl.tempered(jl.mala(0.5), ladder), start,
        ...                 num_steps=600, num_chains=32, burn_in=100, thin=5,
        ...                 observe=lambda state: state.states.position)
        >>> key = jax.random.key(1)
        >>> found = jl.normalizer.tempered_log_z(key, energy, run.draws, ladder, start)
        >>> low, high = found.interval
        >>> bool(low[-1] < 0 < high[-1])  # the mixture is normalised
        True
    """
    check_key("key", key)
    ladder = np.asarray(as_ladder(temperatures), np.float64)
    known = as_base(base)
    check_no_run("draws", draws, "run.draws")
    positions = trees.as_position("draws", draws, floating=True)
    chains, number = _chains_and_draws(positions, len(ladder))
    exact = distribution.sample(known.law, key, chains * number)
    by_state = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), positions)  # (K, chain, draw, …)

    def all_of(own: jax.Array, of_base: jax.Array) -> jax.Array:
        """(base and the hottest first, chain, draw), as one axis."""
        first = of_base.reshape(1, chains, number, *of_base.shape[1:])
        joined = jnp.concatenate([first.astype(own.dtype), own[::-1]])
        return joined.reshape(-1, *own.shape[3:])

    points = jax.tree.map(all_of, by_state, exact)
    check_energy_on(energy, points)
    shape = (len(ladder) + 1, chains, number)
    values = np.asarray(energy_values(energy, points), np.float64).reshape(shape)
    from_base = np.asarray(energy_values(known.energy, points), np.float64).reshape(shape)
    reduced = np.stack(
        [from_base + float(known.log_z), *(values / t for t in ladder[::-1])], axis=-1
    )
    labels = ("base", *(f"T = {t:.4g}" for t in ladder[::-1]))
    return multistate(np.moveaxis(reduced, 0, 2), confidence=confidence, labels=labels)


def _chains_and_draws(positions: PyTree, num_temperatures: int) -> tuple[int, int]:
    shapes = {(*leaf.shape[:2], leaf.shape[-1]) for leaf in jax.tree.leaves(positions)}
    wrong = any(leaf.ndim < 3 for leaf in jax.tree.leaves(positions)) or len(shapes) != 1
    if wrong or next(iter(shapes))[2] != num_temperatures:
        raise ValueError(
            f"draws: expected leaves of shape (chain, draw, …, {num_temperatures}), with the "
            f"temperatures last, got {trees.shown(positions)}; keep them by "
            "observe=lambda state: state.states.position"
        )
    chains, number, _ = next(iter(shapes))
    return chains, number
