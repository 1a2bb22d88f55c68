"""R-hat of chains split into halves."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.checks import (
    check_count,
)
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels.base import position
from jlangevin.reducers.base import (
    EachLeaf,
    StateFunction,
    check_of,
)
from jlangevin.reducers.moments import Deviations, Moments, MomentsReducer
from jlangevin.reducers.over_chains import OverChains

__all__ = ["SplitRhat", "split_rhat"]


class _Halves(NamedTuple):
    first: Deviations
    second: Deviations


@pytree_dataclass
class SplitRhat(EachLeaf):
    """See `split_rhat`."""

    num_draws: int = static_field()
    moments: MomentsReducer = static_field()

    _accumulator: ClassVar[type] = _Halves

    @property
    def of(self) -> StateFunction:  # type: ignore[override]
        return self.moments.of

    def start(self, x: jax.Array) -> _Halves:
        return _Halves(self.moments.start(x), self.moments.start(x))

    def add(self, accumulator: _Halves, x: jax.Array, n: jax.Array) -> _Halves:
        half = self.num_draws // 2
        begins = self.num_draws - half

        def within(old: Deviations, place: jax.Array) -> Deviations:
            new = self.moments.add(old, x, jnp.maximum(place, 1))
            inside = (place >= 1) & (place <= half)
            return jax.tree.map(lambda a, b: jnp.where(inside, a, b), new, old)

        return _Halves(within(accumulator.first, n), within(accumulator.second, n - begins))

    def _parts(self, accumulator: _Halves, n: jax.Array) -> Moments:
        """The halves' means and variances on a leading axis; NaN until all draws are there."""
        half = jnp.int32(self.num_draws // 2)
        parts = [self.moments.result(part, half) for part in accumulator]
        complete = n == self.num_draws
        return jax.tree.map(lambda *x: jnp.where(complete, jnp.stack(x), jnp.nan), *parts)

    def result(self, accumulator: _Halves, n: jax.Array) -> jax.Array:
        """R-hat of a single chain, which compares its two halves."""
        one = jax.tree.map(lambda x: x[None], accumulator)
        return self.conclude_leaf(self.gather_leaf(one, jnp.ones(1, bool), n), n)

    def gather_leaf(self, accumulator: _Halves, keep: jax.Array, n: jax.Array) -> OverChains:
        parts = jax.vmap(lambda a: self._parts(a, n))(accumulator)
        halves = [x.reshape(-1, *x.shape[2:]) for x in parts]
        return OverChains.of(jnp.repeat(keep, 2), *halves, product=jnp.multiply)

    def conclude_leaf(self, gathered: OverChains, n: jax.Array) -> jax.Array:
        _, within = gathered.means
        half, count = jnp.asarray(self.num_draws // 2, within.dtype), gathered.num_chains
        between = gathered.spread * (count / (count - 1))
        return jnp.sqrt(between / within + (half - 1) / half)


def split_rhat(num_draws: int, of: StateFunction = position) -> SplitRhat:
    """R-hat of chains split into halves (Gelman et al. 2013): near 1 if all halves agree.

    Pool it; without pooling it compares the two halves of each chain. It uses the values
    themselves: for the rank-normalised R-hat, which heavy tails need, keep the draws.

    Args:
        num_draws: how many draws there will be, num_steps / thin. After fewer the result is NaN,
            and a run that would have more is refused. If the number is odd, the middle draw is
            left out.
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError, ValueError: `num_draws` is not an integer of at least 4.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=1000, num_chains=100,
        ...     observe=None, reducers=jl.reducers.pooled(jl.reducers.split_rhat(1000)))
        >>> abs(float(run.summary.value[0]) - 1) < 0.03
        True
    """
    check_of(of)
    return SplitRhat(check_count("num_draws", num_draws, minimum=4), MomentsReducer(of, False))
