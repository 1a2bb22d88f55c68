"""Starts for chains when nothing better is known: laws, and draws at which the energy is finite."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from numpy.typing import NDArray

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import as_array, check_finite, check_key, check_known
from jlangevin._core.compiling import compiled
from jlangevin._core.each import check_rows
from jlangevin._core.listing import listing
from jlangevin._core.trees import Parted, PyTree, pytree_dataclass
from jlangevin.distribution import Drawable, check_drawable, starts
from jlangevin.energies.base import Energy, check_callable, check_energy, value_and_gradient
from jlangevin.noise import Want
from jlangevin.sampling.health import first_fault
from jlangevin.sampling.start import as_start, as_streams
from jlangevin.sampling.state import Setup

__all__ = ["Starts", "Uniform", "draw", "uniform"]

__dir__ = listing(__all__)

_ATTEMPTS = 100


@pytree_dataclass
class Uniform:
    """See `uniform`."""

    low: PyTree
    high: PyTree
    like: PyTree  # a position, which gives shapes and dtypes

    draw_noise: ClassVar[PyTree] = Want.NORMAL

    def template(self) -> PyTree:
        return trees.struct(self.like)

    def from_noise(self, noise: PyTree) -> PyTree:
        def place(xi: jax.Array) -> jax.Array:
            low, high = (jnp.asarray(end, xi.dtype) for end in (self.low, self.high))
            return low + (high - low) * ndtr(xi)

        return jax.tree.map(place, noise)


def uniform(low: PyTree = -2.0, high: PyTree = 2.0, *, like: PyTree) -> Uniform:
    """The uniform law on a box, to start from: each element of a position is in [low, high].

    Stan and NumPyro start in [-2, 2], in coordinates without walls.

    Args:
        low, high: scalars, low < high.
        like: a position of one chain, a pytree of floating arrays or `jax.ShapeDtypeStruct`, whose
            shapes and dtypes the draws have.

    Raises:
        TypeError: ends that are not numbers, or a position that is not floating.
        ValueError: ends that are not finite scalars, or not in order.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.starts.uniform(-2, 2, like=jnp.zeros(3))
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(dim=3), jl.mala(0.1), law,
        ...                 num_steps=10, num_chains=4)
        >>> run.draws.shape
        (4, 10, 3)
    """
    ends = [
        check_finite(name, as_array(name, x, ndim=0)) for name, x in (("low", low), ("high", high))
    ]
    if trees.is_concrete(ends) and not float(ends[0]) < float(ends[1]):
        raise ValueError(f"low, high: expected low < high, got {low} and {high}")
    if not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(like)):
        like = trees.as_position("like", like)
    for name, leaf in trees.named_leaves("like", like):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"{name}: expected floating arrays, got dtype {leaf.dtype}")
    return Uniform(ends[0], ends[1], trees.zeros(trees.struct(like)))


class Starts(NamedTuple):
    """What `draw` returns."""

    positions: PyTree  # leaves of shape (chain, …)
    redrawn: np.ndarray[Any, Any]  # bool (chain,), whether a first draw was not finite


def draw(
    key: jax.Array,
    energy: Energy,
    law: Drawable,
    num_chains: int | None = None,
    *,
    chains: Any = None,
) -> Starts:
    """Draw starts at which the energy and its gradient are finite.

    If a chain's draw is not finite, the chain draws again from the same law, up to 100 times. So
    starts have that law, given that the energy is finite. Chain i's start depends on (key, i)
    alone, and is that of `sample(key, energy, kernel, law, …)` if that is finite.

    Args:
        key: a typed Threefry key, best that of the run.
        energy: as in `sample`.
        law: a `Gaussian`, `uniform`, or an energy with an exact sampler.
        num_chains: how many.
        chains: instead of that the numbers of their streams, as in `sample`.

    Returns:
        `Starts`: the positions, and which chains had to draw again.

    Raises:
        TypeError, ValueError: arguments as in `sample`; or no draw of a chain is finite in 100.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = lambda x: jnp.where(x[0] > 0, x[0] - jnp.log(x[0]), jnp.inf)
        >>> law = jl.starts.uniform(-2, 2, like=jnp.zeros(1))
        >>> starts = jl.starts.draw(jax.random.key(0), energy, law, num_chains=1000)
        >>> bool((starts.positions > 0).all()), bool(400 < starts.redrawn.sum() < 600)
        (True, True)
    """
    check_key("key", key)
    check_callable(energy)
    check_drawable("law", law)
    check_known("whether starts are finite is decided on the host", key=key, energy=energy, law=law)
    streams = None if chains is None else as_streams(chains)
    count, _ = as_start(law, num_chains, streams)
    check_rows(count, energy=energy)
    ids = np.arange(count, dtype=np.uint32) if streams is None else streams
    given = key, Parted.of(law), Setup.of(energy, None)
    positions, fault = jax.device_get(_drawn(*given, ids, np.int32(0)))
    redrawn = bad = np.asarray(fault) >= 0
    for attempt in range(1, _ATTEMPTS):
        if not bad.any():
            return Starts(jax.device_put(positions), redrawn)
        others, fault = jax.device_get(_drawn(*given, ids, np.int32(attempt)))

        def choose(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
            return np.where(bad.reshape(-1, *[1] * (old.ndim - 1)), new, old)  # noqa: B023

        positions = jax.tree.map(choose, positions, others)
        bad = bad & (np.asarray(fault) >= 0)
    raise ValueError(
        f"law: energy or gradient are not finite at any of {_ATTEMPTS} draws for "
        f"{int(bad.sum())} of {len(ids)} chains, the first of which is chain "
        f"{int(ids[np.argmax(bad)])}; use a law on places where they are finite"
    )


@compiled
def _drawn(
    key: jax.Array, law: Parted, setup: Setup, ids: Any, attempt: Any
) -> tuple[PyTree, jax.Array]:
    """One draw for each stream, and what is not finite there: see `first_fault`."""
    positions = starts(law.whole, noise.streams(key, ids), attempt)
    check_energy(setup.of_chain(0)[0], trees.one_chain(positions, -1))

    def at(rows: PyTree, x: PyTree) -> PyTree:
        return x, *value_and_gradient(setup.energy_for(rows), x)

    rows = trees.chains_last(setup.rows.whole)
    return trees.chains_first(positions), first_fault(jax.vmap(at, -1, -1)(rows, positions))
