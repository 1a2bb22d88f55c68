"""Underdamped Langevin dynamics by splitting."""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    hyperparameter,
)
from jlangevin.kernels.momentum import added, coasted, ornstein_uhlenbeck, rescaled, thermal
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["Underdamped", "UnderdampedState", "underdamped"]


class UnderdampedState(NamedTuple):
    """Position, velocity, and where the next step can use it -M⁻¹ ∇E at the position, else None."""

    position: Position
    velocity: Position
    acceleration: Position | None


@pytree_dataclass
class Underdamped(Convertible):
    """See `underdamped`."""

    step_size: Hyper
    friction: Hyper
    inverse_mass: Scalar | Preconditioner
    temperature: Hyper
    splitting: str = static_field()

    init_noise: ClassVar[Want] = Want.NORMAL
    kinetic = "thermal"
    carries = ("velocity",)

    @property
    def step_noise(self) -> tuple[Want, ...]:
        return (Want.NORMAL,) * (self._count("O") + 2 * self._count("U"))

    def init(self, energy: Energy, position: Position, noise: Noise) -> UnderdampedState:
        velocity = thermal(self.temperature, self.inverse_mass.factor(noise))
        carried = self._accelerate(energy, position) if self._carries() else None
        return UnderdampedState(position, velocity, carried)

    def step(
        self, energy: Energy, state: UnderdampedState, noise: tuple[Position, ...]
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
                    x, path = self._drift(x, path), None
                    acceleration = self._accelerate(energy, x)
                v = added(self.step_size, v, acceleration, self._count("B"))
            elif letter == "O":
                v = ornstein_uhlenbeck(v, next(normals), *self._heat("O"))
            else:
                x, v = coasted(x, v, (next(normals), next(normals)), *self._heat("U"))
                acceleration = None
        x = self._drift(x, path)
        return UnderdampedState(x, v, acceleration if self._carries() else None), Info()

    def convert_state(
        self, energy: Energy, state: UnderdampedState, other: Self
    ) -> UnderdampedState:
        """Velocities keep their size relative to the temperature's."""
        velocity = rescaled(state.velocity, self.temperature, other.temperature)
        return state._replace(velocity=velocity)

    def _carries(self) -> bool:
        """Whether a step's last force is the next one's first."""
        before, *_, after = re.split("[AU]", self.splitting)
        return "B" in before and "B" in after

    def _count(self, letter: str) -> int:
        return self.splitting.count(letter)

    def _accelerate(self, energy: Energy, position: Position) -> Position:
        force = jax.tree.map(jnp.negative, gradient(energy, position))
        return self.inverse_mass.apply(force)

    def _drift(self, position: Position, path: Position | None) -> Position:
        """The moves A that are still to be made."""
        return position if path is None else added(self.step_size, position, path, self._count("A"))

    def _heat(self, letter: str) -> tuple[Scalar | Preconditioner, Hyper, Hyper, Hyper, int]:
        """What the moves O and U need besides state and noise."""
        return (
            self.inverse_mass,
            self.step_size,
            self.friction,
            self.temperature,
            self._count(letter),
        )


def underdamped(
    step_size: HyperLike,
    friction: HyperLike,
    *,
    mass: ArrayLike | Preconditioner | PyTree = 1.0,
    temperature: HyperLike = 1.0,
    splitting: str = "BAOAB",
) -> Underdamped:
    """Underdamped Langevin dynamics by a splitting (Leimkuhler and Matthews 2013).

        dx = v dt,    dv = -M⁻¹ ∇E(x) dt - γ v dt + sqrt(2 γ T) M^{-1/2} dW

    A step of size h makes these moves in the order of `splitting`'s letters, each exact; a letter
    that occurs k times takes dt = h/k each time, otherwise dt = h:

        A    x += dt v
        B    v -= dt M⁻¹ ∇E(x)
        O    v' = e^{-γ dt} v + sqrt((1 - e^{-2γ dt}) T) M^{-1/2} ξ_1,    ξ ~ N(0, I)
        U    v' as by O,  x' = x + τ (v + v') + sqrt(2T (dt - 2τ)/γ) M^{-1/2} ξ_2
             with τ = tanh(γ dt/2)/γ

    U is A and O in one, the motion without a force. It samples p(x, v) ∝ exp(-(E(x) + ½ vᵀMv)/T);
    the symmetric words below do up to a bias of order h². With κ = h²λ/(4m) they are stable on a
    quadratic energy iff κ < 1, whatever the friction, and have the stationary variances, relative
    to T/λ and T/m,

        BAOAB  1, 1 - κ       ABOBA  1, 1/(1 - κ)       OBABO  1/(1 - κ), 1       OABAO  1 - κ, 1

    UBU and BUB (Sanz-Serna and Zygalakis 2021) are for following a path: for the same Brownian
    motion they are h² away from the diffusion, where those words are h away. They are stable iff
    κ tanh(y)/y < 1, y = γh/2. Their variances are near 1 - 2κ/3, 1 + κ/3 for UBU and 1 + κ/3,
    1 - 2κ/3 for BUB, with γh and κ small.

    The first velocity is drawn from N(0, T M⁻¹). All these words cost one gradient a step, as the
    force at a step's end is carried to the next, and so does any whose B's are, going round, all
    between the same two A's or U's. Each O costs one normal an element, and each U two.

    Args:
        step_size: h > 0, a scalar or a function of the step (see `Schedule`).
        friction: γ > 0, a rate, likewise. With γh large BAOAB is `leimkuhler_matthews` with
            η = h²/(2m).
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        splitting: a word of the letters A, B and O, or of B and U.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, M not symmetric positive
            definite, or a word that has other letters or lacks one. A mass that does not fit
            the position is refused when it is run.
        TypeError: a hyper-parameter or mass that is not one, or a splitting that is not a word.

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
    if set(splitting) not in (set("ABO"), set("BU")):
        raise ValueError(
            "splitting: expected a word of the letters A, B and O with each at least once, such as "
            f'"BAOAB", or of B and U, such as "UBU", got {splitting!r}'
        )
    return Underdamped(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction),
        as_mass(mass).inverse(),
        hyperparameter("temperature", temperature),
        splitting,
    )
