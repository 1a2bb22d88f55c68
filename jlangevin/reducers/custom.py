"""A reducer from three functions."""

from __future__ import annotations

from collections.abc import Callable

import jax

from jlangevin._core.trees import PyTree, pytree_dataclass, static_field

__all__ = ["Custom", "custom"]


@pytree_dataclass
class Custom:
    """See `custom`."""

    init: Callable[[PyTree], PyTree] = static_field()
    update: Callable[[PyTree, PyTree, jax.Array], PyTree] = static_field()
    finish: Callable[[PyTree, jax.Array], PyTree] = static_field()


def custom(
    init: Callable[[PyTree], PyTree],
    update: Callable[[PyTree, PyTree, jax.Array], PyTree],
    finish: Callable[[PyTree, jax.Array], PyTree],
) -> Custom:
    """A reducer from three pure functions; the module says what their arguments are.

    Args:
        init: from one chain's kernel state to its accumulator.
        update: from accumulator, state and the number of draws, including this one, to the next
            accumulator.
        finish: from accumulator and the number of draws to the result.

    Raises:
        TypeError: one of them is not a function.

    Example:
        How often a chain changes sides:

        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> crossings = jl.reducers.custom(
        ...     init=lambda state: (state.position[0], jnp.int32(0)),
        ...     update=lambda acc, state, n: (
        ...         state.position[0], acc[1] + jnp.int32(acc[0] * state.position[0] < 0)),
        ...     finish=lambda acc, n: acc[1])
        >>> run = jl.sample(
        ...     jax.random.key(0), jl.energies.double_well(), jl.ula(0.01), jnp.ones((4, 1)),
        ...     num_steps=1000, observe=None, reducers=crossings)
        >>> run.summary.shape
        (4,)
    """
    for name, function in (("init", init), ("update", update), ("finish", finish)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {function!r}")
    return Custom(init, update, finish)
