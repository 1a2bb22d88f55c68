"""Unbiased estimates of a gradient from minibatches of data, as functions of a key.

An estimator is any callable (key, x) -> an estimate of ∇E(x), like x; pass it to `sgld` or `sghmc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_finite, check_key, check_made, check_tree
from jlangevin._core.listing import listing
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin._core.user_code import note_on_errors
from jlangevin.energies.base import Energy

Estimator: TypeAlias = Callable[[jax.Array, PyTree], PyTree]
"""From a key and a position to an estimate of ∇E there, a pytree like the position."""

__all__ = ["ControlVariate", "Minibatch", "Sum", "control_variate", "minibatch"]

__dir__ = listing(__all__)


@pytree_dataclass
class Sum:
    """The energy E(x) = prior(x) + Σ_i e(x, item_i) over all data."""

    energy_of_item: Callable[[PyTree, PyTree], jax.Array]
    data: PyTree
    prior: Energy | None

    def __call__(self, position: PyTree) -> jax.Array:
        return self.prior_at(position) + self.of(self.data, position)

    def prior_at(self, position: PyTree) -> jax.Array:
        if self.prior is None:
            return jnp.zeros((), trees.float_dtype(position))
        return _scalars("prior", self.prior(position))

    def of(self, items: PyTree, position: PyTree) -> jax.Array:
        """Σ_i e(x, item_i) over `items`."""
        values = jax.vmap(self.energy_of_item, in_axes=(None, 0))(position, items)
        count = jax.tree.leaves(items)[0].shape[0]
        return jnp.sum(_scalars("energy_of_item", values, count))

    @property
    def num_items(self) -> int:
        """n."""
        return int(jax.tree.leaves(self.data)[0].shape[0])


def _scalars(name: str, value: jax.Array, *counts: int) -> jax.Array:
    """`value`; raise unless it is one number, or one for each of `counts` items."""
    if not trees.is_array(value) or jnp.shape(value) != counts:
        one = f"shape {jnp.shape(value)[len(counts) :]}" if trees.is_array(value) else "a pytree"
        raise ValueError(
            f"{name}: expected a scalar for one {'item' if counts else 'position'}, got {one}; sum "
            "over its elements"
        )
    return value


@pytree_dataclass
class Minibatch:
    """See `minibatch`."""

    energy: Sum
    batch_size: int = static_field()

    def __call__(self, key: jax.Array, position: PyTree) -> PyTree:
        check_key("key", key)
        position = trees.as_position("position", position, floating=True)
        batch = self.draw(key)

        def scaled(x: PyTree) -> jax.Array:
            return self.energy.prior_at(x) + self.scale * self.energy.of(batch, x)

        return jax.grad(scaled)(position)

    @property
    def scale(self) -> float:
        """n / b."""
        return self.energy.num_items / self.batch_size

    def draw(self, key: jax.Array) -> PyTree:
        """A batch of b items."""
        chosen = jax.random.randint(key, (self.batch_size,), 0, self.energy.num_items)
        return jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), self.energy.data)


def minibatch(
    energy_of_item: Callable[[PyTree, PyTree], jax.Array],
    data: PyTree,
    batch_size: int,
    prior: Energy | None = None,
) -> Minibatch:
    """The gradient of a few items drawn at random, scaled up to all of them.

        E(x) = prior(x) + Σ_i e(x, item_i),    i = 1 … n
        ĝ(x) = ∇prior(x) + n/b Σ_{i in batch} ∇e(x, item_i)

    Each key gives b new items, drawn independently: an item may occur twice, and b may be larger
    than n. E[ĝ] = ∇E, and the covariance of ĝ is n²/b V(x), where V(x) is the covariance of
    ∇e(x, item_i) over the n items. An estimate costs b gradients of items, whatever n is. Other
    data of the same shape do not recompile.

    The attribute `energy` of the result is E itself, a callable over all data.

    Args:
        energy_of_item: e, from a position and one item to a scalar.
        data: a pytree of arrays whose first axis counts the items.
        batch_size: b ≥ 1; another number recompiles.
        prior: from a position to a scalar, or None.

    Raises:
        TypeError: e or the prior cannot be called, or b is not an integer.
        ValueError: b < 1, no items, or leaves of `data` with different numbers of items; or, when
            it is run, values of e or the prior that are not scalars.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> items = jnp.arange(100.0)
        >>> batches = jl.estimators.minibatch(lambda x, y: 0.5 * (x - y)**2 / 100, items, 10)
        >>> keys = jax.random.split(jax.random.key(0), 10_000)
        >>> estimates = jax.vmap(batches, (0, None))(keys, jnp.float32(50.0))
        >>> gradient = jax.grad(batches.energy)(50.0)
        >>> round(float(gradient), 1), round(float(estimates.mean()), 1)
        (0.5, 0.5)
    """
    for name, function in (("energy_of_item", energy_of_item), ("prior", prior)):
        if not callable(function) and not (name == "prior" and function is None):
            raise TypeError(f"{name}: expected a callable, got {type(function).__name__}")
        check_made(name, function)
    check_tree("data", data)
    data = trees.as_position("data", data)
    leaves = jax.tree.leaves(data)
    if not leaves:
        raise ValueError(f"data: expected arrays whose first axis counts the items, got {data}")
    for name, leaf in trees.named_leaves("data", data):
        if leaf.ndim == 0:
            raise ValueError(
                f"{name}: expected an array whose first axis counts the items, got {leaf}"
            )
    numbers = {leaf.shape[0] for leaf in leaves}
    if len(numbers) > 1 or numbers == {0}:
        each = ", ".join(f"{n} has {x.shape[0]}" for n, x in trees.named_leaves("data", data))
        raise ValueError(f"data: expected the same number of items, the first axis: {each}")
    batch_size = check_count("batch_size", batch_size, minimum=1)
    return Minibatch(Sum(energy_of_item, data, prior), batch_size)


@pytree_dataclass
class ControlVariate:
    """See `control_variate`."""

    minibatch: Minibatch
    center: PyTree
    gradient: PyTree  # Σ_i ∇e(center, item_i)

    @property
    def energy(self) -> Sum:
        """E, over all data."""
        return self.minibatch.energy

    def __call__(self, key: jax.Array, position: PyTree) -> PyTree:
        trees.assert_like("center", self.center, position, "like the position")
        energy, batch = self.minibatch.energy, self.minibatch.draw(key)

        def combine(
            x: jax.Array, p: jax.Array, whole: jax.Array, g: jax.Array, h: jax.Array
        ) -> jax.Array:
            return p + (whole.astype(x.dtype) + self.minibatch.scale * (g - h))

        def cast(c: jax.Array, x: jax.Array) -> jax.Array:
            return c.astype(x.dtype)

        slope = jax.grad(lambda x: energy.of(batch, x))
        center = jax.tree.map(cast, self.center, position)
        prior = jax.grad(energy.prior_at)(position)
        return jax.tree.map(combine, position, prior, self.gradient, slope(position), slope(center))


def control_variate(minibatch: Minibatch, center: PyTree) -> ControlVariate:
    """Minibatches of the difference from the gradient at a center (Baker et al. 2019).

        ĝ(x) = ∇prior(x) + Σ_i ∇e(c, item_i) + n/b Σ_{i in batch} (∇e(x, item_i) - ∇e(c, item_i))

    It is unbiased, with covariance n²/b V(x), where V(x) is the covariance of the differences
    over the items. Near the center V vanishes with the square of the distance, so a center near the
    mode of p makes the noise small where the chain is. An estimate costs 2b gradients of items,
    and making the estimator costs n.

    The attribute `energy` of the result is E itself, a callable over all data.

    Args:
        minibatch: the result of `minibatch`.
        center: c, one position.

    Raises:
        TypeError: `minibatch` is not the result of `minibatch`.
        ValueError: the gradient at the center is not finite; or, when it is run, the center does
            not fit the position.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> batches = jl.estimators.minibatch(lambda x, y: (x - y)**2, jnp.arange(100.0), 10)
        >>> exact = jl.estimators.control_variate(batches, 49.5)  # quadratic, with one curvature
        >>> float(exact(jax.random.key(0), jnp.float32(50.5)))
        200.0
    """
    check_made("minibatch", minibatch)
    if not isinstance(minibatch, Minibatch):
        raise TypeError(
            f"minibatch: expected the result of jlangevin.estimators.minibatch, "
            f"got {type(minibatch).__name__}"
        )
    check_tree("center", center)
    center = trees.as_position("center", center, floating=True)
    if not jax.tree.leaves(center):
        raise ValueError(f"center: expected one position, got {center}")
    energy = minibatch.energy
    gradient = jax.grad(lambda x: energy.of(energy.data, x))(center)
    gradient = check_finite("center: the gradient there", gradient)
    return ControlVariate(minibatch, center, gradient)


def check_estimator(estimator: object) -> None:
    """Raise TypeError unless `estimator` can be called, and is not a factory of estimators."""
    check_made("estimator", estimator)
    if not callable(estimator):
        raise TypeError(
            "estimator: expected a callable from a key and a position to an estimate of the "
            f"gradient, got {type(estimator).__name__}; see jlangevin.estimators"
        )


def estimate(estimator: Estimator, key: jax.Array, position: PyTree) -> PyTree:
    """The estimate by `estimator`; raise unless it is like the position."""
    with note_on_errors(f"by the estimator, given a key and one position {trees.shown(position)}"):
        slope = jax.tree.map(jnp.asarray, estimator(key, position))
    trees.assert_like(
        "estimator",
        slope,
        trees.struct(position),
        "like the position, as its estimate of the gradient",
        dtypes=True,
    )
    return slope
