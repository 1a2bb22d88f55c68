"""Two thermometers: one for velocities, one for positions."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, check_energy, gradient
from jlangevin.energies.draws import accepts_position, check_single_position
from jlangevin.kernels.base import Kernel, known
from jlangevin.kernels.momentum import inverse_mass
from jlangevin.kernels.preconditioner import Preconditioner, Scalar
from jlangevin.kernels.traits import layers
from jlangevin.sampling.state import SamplerState

__all__ = ["ConfigurationalTemperature", "configurational_temperature", "kinetic_temperature"]


def kinetic_temperature(
    kernel: Kernel, state: PyTree = None, *, position_shape: PyTree = None
) -> jax.Array:
    """vᵀMv / d of a state, with the kernel's M; its mean is T if velocities are at equilibrium.

    A step size disturbs velocities as `underdamped` says for its splittings, even where it
    does not disturb positions: under BAOAB this reads T (1 - κ) where positions have T.

    Args:
        kernel: the kernel of the state, with a mass: `underdamped`, `sghmc`.
        state: `run.state`, of all chains; or one chain's, as `observe` and reducers get it.
        position_shape: the shape of one position, or a pytree of shapes like it. Needed for one
            chain's state if M is a number and positions have two axes or more, as it could also
            be the state of many chains.

    Returns:
        A scalar for one chain's state, (chain,) for `run.state`.

    Raises:
        TypeError: a kernel without a mass, or a state without a velocity.
        ValueError: a state of another shape than M's or `position_shape`, or a state that could be
            of one chain or of many.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.quadratic(jnp.eye(3)), jl.underdamped(0.1, 1.0, mass=2.0)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=9, num_chains=9999)
        >>> found = jl.diagnostics.kinetic_temperature(kernel, run.state)
        >>> found.shape, round(float(found.mean()), 1)
        ((9999,), 1.0)
    """
    if state is None or known(kernel, "velocity") is not None:
        raise TypeError(
            "kernel: it gives the mass; pass kinetic_temperature(kernel, state), got "
            f"{type(kernel).__name__} alone or first"
        )
    mass = next((m for m in map(inverse_mass, layers(kernel)) if m is not None), None)
    if mass is None:
        raise TypeError(f"kernel: expected one with a mass, got {type(kernel).__name__}")
    if isinstance(state, SamplerState):
        return jax.vmap(lambda chain: _kinetic_temperature(mass, chain))(state.kernel)
    if isinstance(mass, Scalar):
        check_single_position("state", _velocity(state), position_shape, lambda: True)
    elif position_shape is not None:
        check_single_position("state", _velocity(state), position_shape, lambda: False)
    return _kinetic_temperature(mass, state)


def _velocity(state: PyTree) -> PyTree:
    velocity = known(state, "velocity")
    if velocity is None:
        raise TypeError(
            f"state: expected one with a velocity, got {type(state).__name__}; use run.state of a "
            "run of jlangevin.underdamped"
        )
    return velocity


def _kinetic_temperature(inverse_mass: Scalar | Preconditioner, state: PyTree) -> jax.Array:
    """|L⁻¹v|² / d, L Lᵀ = M⁻¹."""
    whitened = trees.ravel(inverse_mass.solve(_velocity(state)))
    return jnp.sum(whitened * whitened) / whitened.size


class ConfigurationalTemperature(NamedTuple):
    """Two numbers for each position. Average both; the ratio of the averages is T."""

    gradient_square: jax.Array  # |∇E|²
    laplacian: jax.Array  # ΔE


def configurational_temperature(
    energy: Energy, position: PyTree, *, position_shape: PyTree = None
) -> ConfigurationalTemperature:
    """|∇E|² and ΔE of positions: E[|∇E|²] = T E[ΔE] if these are at equilibrium.

    This is an integration by parts under p ∝ exp(-E/T) (Rugh 1997; Butler, Ayton, Jepps and Evans
    1998). The two are returned separately because only the ratio of their averages is T: the
    average of their ratios is another number, and has no mean if ΔE passes through zero.

    The cost is d Hessian-vector products, and the memory of a d x d Hessian.

    Args:
        energy: E, twice differentiable; or a score made by `jlangevin.scores`.
        position: `run.state`, of all chains; or one position, a pytree of floating arrays.
        position_shape: the shape of one position, or a pytree of shapes like it. Needed for one
            position of two axes or more if the energy also takes a row of it, as it could also be
            the positions of many chains.

    Returns:
        Two scalars for one position, of shape (chain,) for `run.state`.

    Raises:
        TypeError: an energy that cannot be called, or a position that is not floating.
        ValueError: an energy that is not a scalar; a score that is not like the position; a
            position of another shape than `position_shape`, or that could be one or many.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
        >>> run = jl.sample(jax.random.key(0), energy, jl.mala(0.1), energy, num_steps=9,
        ...                 num_chains=9_999)
        >>> pair = jl.diagnostics.configurational_temperature(energy, run.state)
        >>> round(float(pair.gradient_square.mean() / pair.laplacian.mean()), 1)
        1.0
    """
    if isinstance(position, SamplerState):
        of_chain = partial(_configurational_temperature, energy)
        found: ConfigurationalTemperature = jax.vmap(of_chain)(position.kernel.position)
        return found
    position = trees.as_position("position", position, floating=True)

    def also_takes_a_row() -> bool:
        return accepts_position(
            energy, jax.tree.map(lambda x: jax.eval_shape(lambda x: x[0], x), position)
        )

    check_single_position("position", position, position_shape, also_takes_a_row)
    return _configurational_temperature(energy, position)


def _configurational_temperature(energy: Energy, position: PyTree) -> ConfigurationalTemperature:
    check_energy(energy, position)
    unravel = trees.unraveler(position)

    def slope(flat: jax.Array) -> jax.Array:
        return trees.ravel(gradient(energy, unravel(flat)))

    flat = trees.ravel(position)
    g = slope(flat)
    return ConfigurationalTemperature(product(g, g), jnp.trace(jax.jacfwd(slope)(flat)))
