"""Loops that stand beside the library's: peers' steps under scan and vmap, and bare gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from problems import Problem

ETA = 1e-3  # the step size of those without a velocity
ELEMENTS = 10_000_000  # element-steps a program, about; fewer where energies are dear
Program = Callable[[], Any]


def driven(
    step: Callable[..., Any],
    start: Any,
    steps: int,
    *,
    keep: bool = False,
    chains_inside: bool,
    init: Callable[..., Any] = lambda position: position,
) -> Program:
    """Peers' programs: one step a call, under scan and vmap in either order.

    `init` makes a chain's state of its position, before the clock starts.
    """
    chains = len(start)
    states = jax.block_until_ready(jax.jit(jax.vmap(init))(start))

    def seen(x: Any) -> Any:
        return x if keep else None

    def inside(key: jax.Array, states: Any) -> Any:
        def body(x: Any, key: jax.Array) -> Any:
            x = jax.vmap(step)(jax.random.split(key, chains), x)
            return x, seen(x)

        return lax.scan(body, states, jax.random.split(key, steps))

    def outside(key: jax.Array, states: Any) -> Any:
        def chain(key: jax.Array, x: Any) -> Any:
            def body(carry: Any, _: None) -> Any:
                key, x = carry
                key, now = jax.random.split(key)
                x = step(now, x)
                return (key, x), seen(x)

            (_, x), draws = lax.scan(body, (key, x), None, length=steps)
            return x, draws

        return jax.vmap(chain)(jax.random.split(key, chains), states)

    compiled = jax.jit(inside if chains_inside else outside)
    key = jax.random.key(0)
    return lambda: compiled(key, states)


def bare_gradient(problem: Problem, chains: int, steps: int) -> Program:
    """The gradient alone, as often as there are steps, each at the result of the one before."""
    gradient = jax.vmap(jax.grad(problem.energy), in_axes=-1, out_axes=-1)

    @jax.jit
    def program(x: jax.Array) -> Any:
        return lax.fori_loop(0, steps, lambda _, x: x - ETA * gradient(x), x)

    start = jnp.full((problem.dim, chains), 0.5)
    return lambda: program(start)
