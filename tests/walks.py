"""Steps of a kernel without the driver, on noise that is made up: quick to compile.

For what holds of a step whatever its noise is.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl
from jlangevin.kernels.base import resolve_schedules


def made_up(want, like, *leading, seed=0):
    """Noise for positions like `like`, with leading axes: normals, and uniforms where it is one
    number."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        make = rng.normal if shape.shape else rng.uniform
        return jnp.asarray(make(size=(*leading, *shape.shape)), shape.dtype)

    return jax.tree.map(draw, jl.noise.shapes(want, like))


def walk(kernel, energy, starts, noise, first=None):
    """States after each step, (chain, step, …), and their reports; `first` is what `init` wants."""

    def one(x, noise, first):
        def step(carry, z):
            state, t = carry
            state, info = resolve_schedules(kernel, t).step(energy, state, z)
            return (state, t + 1), (state, info)

        begun = resolve_schedules(kernel, jnp.int32(0)).init(energy, x, first)
        return jax.lax.scan(step, (begun, jnp.int32(0)), noise)[1]

    return jax.jit(jax.vmap(one))(starts, noise, first)
