"""How long trajectories should be: all lengths are tried at once, and judged by second moments.

A trajectory that is cut off after k moves is also a valid proposal. So a trajectory of the longest
length shows what all shorter ones would have done: with what probability a_k each would have been
accepted, and how far it would have come. Along the principal directions of the positions, take
coordinates u with mean 0 and variance 1. For both f = u and f = u²,

    J_k = E[a_k (f(x_k) - f(x_0))²] / (2 Var f) = 1 - ρ_k

gives ρ_k, the autocorrelation of f over a step of k moves, since each step begins with a fresh
velocity. The best length has the most effective draws per move, (1 - ρ_k) / (1 + ρ_k) / k, of the f
with the fewest. The squares are the criterion of Hoffman, Radul and Sountsov (2021), the principal
directions that of Sountsov and Hoffman (2022); u itself shows trajectories that are so short that
chains creep.

Lengths are compared at steps where each has the target acceptance rate, as a longer one needs a
smaller step. Two frictions are tried: that of Riou-Durand, Sountsov, Vogrinc, Margossian and
Power (2023), sqrt(T) over the largest standard deviation in round coordinates, with which faster
directions forget as soon as the slowest; and half of it, which is better where all are about alike.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.adaptation.metric import Metric
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Info
from jlangevin.kernels.metropolis import MetropolisState, accept_or_keep
from jlangevin.kernels.trajectory import Trajectory

__all__ = ["FRICTIONS", "STEPS", "Choice", "Seen", "Trial", "best", "directions", "untried"]

STEPS = np.exp([-0.6, -0.3, 0.0, 0.3, 0.6])  # that are tried, relative to the current one

# That are tried, relative to half the critical damping of the slowest mode of a normal law.
FRICTIONS = np.array([0.5, 1.0])

_DIRECTIONS = 8  # at most

Array = np.ndarray[Any, np.dtype[np.float64]]


class Seen(NamedTuple):
    """Sums over a chain's steps, for L lengths and r directions, along which f is u, then u²."""

    steps: Any  # a scalar
    rates: Any  # (L,), of a_k
    jumps: Any  # (L, 2r), of a_k (f(x_k) - f(x_0))²
    values: Any  # (2r,), of f(x_0)
    squares: Any  # (2r,), of f(x_0)²


@pytree_dataclass
class Trial:
    """Steps that are cut off after `length` moves, and show all lengths up to that."""

    length: Any
    centre: Any  # (d,), of positions
    axes: Any  # (r, d): u = axes (x - centre)

    def cut(self, length: int) -> Trial:
        """The same, cut off after this many moves."""
        return dataclasses.replace(self, length=np.int32(length))

    def along(self, centre: Array, axes: Array) -> Trial:
        """The same, along other directions."""
        dtype = self.axes.dtype
        return dataclasses.replace(self, centre=centre.astype(dtype), axes=axes.astype(dtype))

    def nothing(self, kernel: Trajectory, dtype: Any) -> Seen:
        """Zero sums, for positions of this dtype."""
        longest, f = kernel.trajectory_length, 2 * len(self.axes)
        shapes = (), (longest,), (longest, f), (f,), (f,)
        return Seen(*(jnp.zeros(shape, _of_sums(dtype)) for shape in shapes))

    def step(
        self,
        kernel: Trajectory,
        energy: Energy,
        state: MetropolisState,
        noise: tuple[PyTree, jax.Array],
        seen: Seen,
    ) -> tuple[MetropolisState, Info, Seen]:
        """A step of `kernel`, whose trajectory length is the longest that can be tried."""
        normals, uniform = noise
        start = self._of(state)

        def move(k: jax.Array, carry: Any) -> Any:
            course, rates, jumps = carry
            course = kernel.go_on(energy, normals, k, course)
            here, _, work, cause = course
            rate = accept_or_keep(state, here, work, kernel.temperature, uniform, cause)[1][0]
            rate = rate.astype(start.dtype)
            jump = jnp.where(rate > 0, rate * (self._of(here) - start) ** 2, 0)
            return course, rates.at[k].add(rate), jumps.at[k].add(jump)

        begun = kernel.depart(state, normals), seen.rates, seen.jumps
        course, rates, jumps = lax.fori_loop(0, self.length, move, begun)
        end, _, work, cause = course
        state, info = accept_or_keep(state, end, work, kernel.temperature, uniform, cause)
        seen = Seen(seen.steps + 1, rates, jumps, seen.values + start, seen.squares + start**2)
        return state, info, seen

    def _of(self, state: MetropolisState) -> jax.Array:
        """f, shape (2r,)."""
        x = trees.at_least_float32(trees.ravel(state.position))
        axes, centre = (jnp.asarray(each, x.dtype) for each in (self.axes, self.centre))
        u = product(axes, x - centre)
        return jnp.concatenate([u, u**2 - 1])


def _of_sums(dtype: Any) -> Any:
    """The dtype of sums, of at least 32 bits."""
    return jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype


def untried(like: PyTree) -> Trial:
    """A trial of a single move, before directions are known."""
    d, dtype = trees.size(like), _of_sums(trees.float_dtype(like))
    return Trial(np.int32(1), np.zeros(d, dtype), np.zeros((min(d, _DIRECTIONS), d), dtype))


def directions(positions: Array, metric: Metric) -> tuple[Array, Array, float]:
    """The centre of these rows; axes that give coordinates of variance 1 along the principal
    directions, in coordinates that `metric` makes round; and the largest standard deviation
    there."""
    centre = np.mean(positions, axis=0)
    round_ = metric.to_round(positions - centre)
    _, lengths, vectors = np.linalg.svd(round_, full_matrices=False)
    lengths = lengths / np.sqrt(len(positions))
    r = min(len(centre), _DIRECTIONS)
    axes = np.zeros((r, len(centre)))
    told = lengths[:r] > 0
    axes[: len(told)][told] = (metric.functionals(vectors[:r]) / lengths[:r, None])[told]
    return centre, axes, float(lengths[0])


class Choice(NamedTuple):
    """A length, the step size at which it has the target acceptance rate, and effective draws per
    move there."""

    length: int
    step_size: float
    draws: float


def best(step_sizes: Array, seen: list[Seen], target: float) -> Choice:
    """The best length, by what was seen at each of these step sizes, summed over chains."""
    rates = np.array([each.rates / each.steps for each in seen])
    scores = np.array([_draws(each) for each in seen])
    choices = []
    for k, (rate, score) in enumerate(zip(rates.T, scores.T, strict=True)):
        order = np.argsort(rate, kind="stable")
        step = np.exp(np.interp(target, rate[order], np.log(step_sizes[order])))
        choices.append(
            Choice(k + 1, float(step), float(np.interp(target, rate[order], score[order])))
        )
    return max(choices, key=lambda choice: choice.draws)


def _draws(seen: Seen) -> Array:
    """Effective draws per move, for each length: (1 - ρ) / (1 + ρ) / k, the least over f."""
    variance = seen.squares / seen.steps - (seen.values / seen.steps) ** 2
    moving = variance > 0
    jumps = seen.jumps[:, moving] / seen.steps / (2 * variance[moving])
    jumps = np.minimum(jumps, 1.9)  # with few trajectories the estimate of ρ may be below -1
    lengths = np.arange(1, len(jumps) + 1)
    draws: Array = np.min(jumps / (2 - jumps), axis=1, initial=np.inf) / lengths
    return draws
