"""Underdamped Langevin dynamics by splitting, and two thermometers."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin import trees
from jlangevin._arithmetic import product
from jlangevin.draws import check_one, takes
from jlangevin.kernels.base import Energy, Info, check_energy, gradient, hyperparameter, layers
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.noise import Want
from jlangevin.trees import PyTree, pytree_dataclass, static_field

__all__ = [
    "ConfigurationalTemperature",
    "Underdamped",
    "UnderdampedState",
    "configurational_temperature",
    "kinetic_temperature",
    "underdamped",
]


class UnderdampedState(NamedTuple):
    """Position, velocity, and where the next step can use it -M⁻¹ ∇E at the position, else None."""

    position: Any
    velocity: Any
    acceleration: Any


@pytree_dataclass
class Underdamped:
    """See `underdamped`."""

    step_size: Any
    friction: Any
    inverse_mass: Scalar | Preconditioner
    temperature: Any
    splitting: str = static_field()

    init_noise: ClassVar[Want] = Want.NORMAL

    @property
    def step_noise(self) -> tuple[Want, ...]:
        return (Want.NORMAL,) * self.splitting.count("O")

    def init(self, energy: Energy, position: PyTree, noise: PyTree) -> UnderdampedState:
        def hot(xi: jax.Array) -> jax.Array:
            return jnp.sqrt(jnp.asarray(self.temperature, xi.dtype)) * xi

        velocity = jax.tree.map(hot, self.inverse_mass.factor(noise))
        carried = self._accelerate(energy, position) if self._carries() else None
        return UnderdampedState(position, velocity, carried)

    def step(
        self, energy: Energy, state: UnderdampedState, noise: tuple[PyTree, ...]
    ) -> tuple[UnderdampedState, Info]:
        x, v, acceleration = state
        normals = iter(noise)
        path = None  # the sum of the velocities since x was moved: it moves when it is looked at
        for letter in self.splitting:
            if letter == "A":
                path = v if path is None else jax.tree.map(jnp.add, path, v)
                acceleration = None
            elif letter == "B":
                if acceleration is None:
                    x, path = self._add("A", x, path), None
                    acceleration = self._accelerate(energy, x)
                v = self._add("B", v, acceleration)
            else:
                v = self._thermalize(v, next(normals))
        x = self._add("A", x, path)
        return UnderdampedState(x, v, acceleration if self._carries() else None), Info()

    def adopt(self, energy: Energy, state: UnderdampedState, other: Any) -> UnderdampedState:
        """See `tempered`: velocities keep their size relative to the temperature's."""

        def warm(v: jax.Array) -> jax.Array:
            now, before = (jnp.asarray(k.temperature, v.dtype) for k in (self, other))
            return v * jnp.sqrt(now / before)

        return state._replace(velocity=jax.tree.map(warm, state.velocity))

    def _carries(self) -> bool:
        """Whether a step's last force is the next one's first."""
        word = self.splitting
        return word.index("B") < word.index("A") and word.rindex("B") > word.rindex("A")

    def _time(self, letter: str, dtype: Any) -> jax.Array:
        return jnp.asarray(self.step_size, dtype) / self.splitting.count(letter)

    def _accelerate(self, energy: Energy, position: PyTree) -> PyTree:
        force = jax.tree.map(jnp.negative, gradient(energy, position))
        return self.inverse_mass.apply(force)

    def _add(self, letter: str, value: PyTree, rate: PyTree | None) -> PyTree:
        """`value` + dt `rate`, the move A or B."""
        if rate is None:
            return value
        return jax.tree.map(lambda y, r: y + self._time(letter, y.dtype) * r, value, rate)

    def _thermalize(self, velocity: PyTree, noise: PyTree) -> PyTree:
        """The move O, exact: v = e^{-γ dt} v + sqrt((1 - e^{-2γ dt}) T) L ξ, L Lᵀ = M⁻¹.

        As in `ula` the increment comes first, so that a small γ dt is not lost in e^{-γ dt} ≈ 1,
        and no sum has two products.
        """

        def move(v: jax.Array, xi: jax.Array, scale: jax.Array) -> jax.Array:
            time = jnp.asarray(self.friction, v.dtype) * self._time("O", v.dtype)
            lost = -jnp.expm1(-time)
            heat = -jnp.expm1(-2 * time) * jnp.asarray(self.temperature, v.dtype)
            sigma = scale * jnp.sqrt(heat)
            cold = sigma == 0
            ratio = lost / jnp.where(cold, 1, sigma)
            return jnp.where(cold, v - lost * v, v + sigma * (xi - ratio * v))

        scales, noise = self.inverse_mass.apart(noise)
        return jax.tree.map(move, velocity, noise, scales)


def underdamped(
    step_size: Any,
    friction: Any,
    *,
    mass: Any = 1.0,
    temperature: Any = 1.0,
    splitting: str = "BAOAB",
) -> Underdamped:
    """Underdamped Langevin dynamics by a splitting (Leimkuhler and Matthews 2013).

        dx = v dt,    dv = -M⁻¹ ∇E(x) dt - γ v dt + sqrt(2 γ T) M^{-1/2} dW

    A step of size h makes these moves in the order of `splitting`'s letters, each exact; a letter
    that occurs k times takes dt = h/k each time, otherwise dt = h:

        A    x += dt v
        B    v -= dt M⁻¹ ∇E(x)
        O    v  = e^{-γ dt} v + sqrt((1 - e^{-2γ dt}) T) M^{-1/2} ξ,    ξ ~ N(0, I)

    It samples p(x, v) ∝ exp(-(E(x) + ½ vᵀMv)/T); the symmetric words below do up to a bias of order
    h². With κ = h²λ/(4m) they are stable on a quadratic energy iff κ < 1, whatever the friction,
    and have the stationary variances, relative to T/λ and T/m,

        BAOAB  1, 1 - κ       ABOBA  1, 1/(1 - κ)       OBABO  1/(1 - κ), 1       OABAO  1 - κ, 1

    The first velocity is drawn from N(0, T M⁻¹). These words cost one gradient a step, as the
    force at a step's end is carried to the next, and so does any whose B's are, going round, all
    between the same two A's; each O costs one normal an element.

    Args:
        step_size: h > 0, a scalar or a function of the step (see `Schedule`).
        friction: γ > 0, a rate, likewise. With γh large BAOAB is `leimkuhler_matthews` with
            η = h²/(2m).
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        splitting: a word of the letters A, B and O.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, M not symmetric positive
            definite, or a word that has other letters or lacks one. A mass that does not fit
            the position is refused when it is run.
        TypeError: a hyper-parameter, mass or word that is none.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> kernel = jl.underdamped(step_size=1.0, friction=0.5)
        >>> law = jl.exact.stationary(kernel, energy, jnp.zeros(1), full=True)
        >>> [round(float(law.cov[i, i]), 4) for i in range(2)]  # of position and velocity
        [1.0, 0.75]
    """
    if not isinstance(splitting, str):
        raise TypeError(f'splitting: expected a word such as "BAOAB", got {splitting!r}')
    if set(splitting) != set("ABO"):
        raise ValueError(
            f"splitting: expected a word of the letters A, B and O with each at least once, such "
            f'as "BAOAB", got {splitting!r}'
        )
    return Underdamped(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction),
        as_mass(mass).inverse(),
        hyperparameter("temperature", temperature),
        splitting,
    )


def kinetic_temperature(kernel: Any, state: Any = None, *, position_shape: Any = None) -> jax.Array:
    """vᵀMv / d of a state, whose mean is T where velocities are at equilibrium; M is the kernel's.

    A step size puts velocities off equilibrium by what `underdamped` says of its splittings, which
    need not put positions off: under BAOAB this reads T (1 - κ) where positions have T.

    Args:
        kernel: of which the state is, with a mass: `underdamped`, `sghmc`.
        state: `run.state`, of all chains; or one chain's, as `observe` and reducers are given it.
        position_shape: the shape of one position, or a pytree of shapes like it. To be given with
            one chain's state whose positions have two axes or more, where M is a number: it could
            as well be the state of many chains.

    Returns:
        A scalar for one chain's state, (chain,) for `run.state`.

    Raises:
        TypeError: a kernel without a mass, or a state without a velocity.
        ValueError: a state of another shape than M's or `position_shape`, or one that may be of
            one chain or of many.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.quadratic(jnp.eye(3)), jl.underdamped(0.1, 1.0, mass=2.0)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=9, num_chains=9999)
        >>> found = jl.kernels.kinetic_temperature(kernel, run.state)
        >>> found.shape, round(float(found.mean()), 1)
        ((9999,), 1.0)
    """
    if state is None or hasattr(kernel, "velocity"):
        raise TypeError(
            "kernel: the mass is asked of it; pass kinetic_temperature(kernel, state), got "
            f"{type(kernel).__name__} alone or first"
        )
    mass = next((m for m in map(_inverse_mass, layers(kernel)) if m is not None), None)
    if mass is None:
        raise TypeError(f"kernel: expected one with a mass, got {type(kernel).__name__}")
    if hasattr(state, "streams"):  # of a run
        return jax.vmap(lambda one: _kinetic_temperature(mass, one))(state.kernel)
    if isinstance(mass, Scalar):
        check_one("state", _velocity(state), position_shape, lambda: True)
    elif position_shape is not None:
        check_one("state", _velocity(state), position_shape, lambda: False)
    return _kinetic_temperature(mass, state)


def _inverse_mass(kernel: Any) -> Scalar | Preconditioner | None:
    """M⁻¹ of a kernel that has one, however it holds it."""
    found = getattr(kernel, "inverse_mass", None)
    if found is None and hasattr(kernel, "mass"):
        return as_mass(kernel.mass).inverse()
    return found


def _velocity(state: Any) -> PyTree:
    if not hasattr(state, "velocity"):
        raise TypeError(
            f"state: expected one with a velocity, got {type(state).__name__}; take run.state of a "
            "run of jlangevin.underdamped"
        )
    return state.velocity


def _kinetic_temperature(inverse_mass: Scalar | Preconditioner, state: Any) -> jax.Array:
    """|L⁻¹v|² / d, L Lᵀ = M⁻¹."""
    whitened = trees.ravel(inverse_mass.solve(_velocity(state)))
    return jnp.sum(whitened * whitened) / whitened.size


class ConfigurationalTemperature(NamedTuple):
    """Two numbers of each position. Average both; the ratio of the averages is T."""

    gradient_square: jax.Array  # |∇E|²
    laplacian: jax.Array  # ΔE


def configurational_temperature(
    energy: Energy, position: PyTree, *, position_shape: Any = None
) -> ConfigurationalTemperature:
    """|∇E|² and ΔE of positions: E[|∇E|²] = T E[ΔE] where these are at equilibrium.

    That is an integration by parts under p ∝ exp(-E/T) (Rugh 1997; Butler, Ayton, Jepps and Evans
    1998). The two are given apart because only the ratio of their averages is T: the average of
    their ratios is another number, and has no mean where ΔE passes through zero.

    The cost is d Hessian-vector products, and a d x d Hessian's memory.

    Args:
        energy: E, twice differentiable; or a score as `jlangevin.scores` makes them.
        position: `run.state`, of all chains; or one position, a pytree of floating arrays.
        position_shape: the shape of one position, or a pytree of shapes like it. To be given with
            one position of two axes or more, of which the energy also takes a row: it could as well
            be one position of each of many chains.

    Returns:
        Two scalars for one position, of shape (chain,) for `run.state`.

    Raises:
        TypeError: an energy that cannot be called, or a position that is not floating.
        ValueError: an energy that is no scalar, a score that is not like the position; a position
            of another shape than `position_shape`, or that may be one or many.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
        >>> run = jl.sample(jax.random.key(0), energy, jl.mala(0.1), energy, num_steps=9,
        ...                 num_chains=9_999)
        >>> pair = jl.kernels.configurational_temperature(energy, run.state)
        >>> round(float(pair.gradient_square.mean() / pair.laplacian.mean()), 1)
        1.0
    """
    if hasattr(position, "streams"):  # the state of a run
        of_one = partial(_configurational_temperature, energy)
        found: ConfigurationalTemperature = jax.vmap(of_one)(position.kernel.position)
        return found
    position = trees.as_position("position", position, floating=True)

    def also_takes_a_row() -> bool:
        return takes(energy, jax.tree.map(lambda x: jax.eval_shape(lambda x: x[0], x), position))

    check_one("position", position, position_shape, also_takes_a_row)
    return _configurational_temperature(energy, position)


def _configurational_temperature(energy: Energy, position: PyTree) -> ConfigurationalTemperature:
    check_energy(energy, position)
    unravel = trees.unraveler(position)

    def slope(flat: jax.Array) -> jax.Array:
        return trees.ravel(gradient(energy, unravel(flat)))

    flat = trees.ravel(position)
    g = slope(flat)
    return ConfigurationalTemperature(product(g, g), jnp.trace(jax.jacfwd(slope)(flat)))
