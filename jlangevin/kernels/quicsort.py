"""A third-order scheme for underdamped Langevin dynamics."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.arithmetic import decayed, hidden_zero, separately_rounded
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin._core.vector_loops import apart
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    cast,
    hyperparameter,
)
from jlangevin.kernels.momentum import rescaled, thermal
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["QUICSORT", "QUICSORTState", "quicsort"]

_EARLY, _LATE = 0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6  # Gauss's nodes in [0, 1]


class QUICSORTState(NamedTuple):
    """Position and velocity."""

    position: Position
    velocity: Position


class Kick(NamedTuple):
    """A change of velocity by -h weight M⁻¹∇E, a time of h rest before it is asked what it did."""

    weight: float
    rest: float
    acceleration: Position  # M⁻¹∇E


@pytree_dataclass
class QUICSORT(Convertible):
    """See `quicsort`."""

    step_size: Hyper
    friction: Hyper
    inverse_mass: Scalar | Preconditioner
    temperature: Hyper

    init_noise: ClassVar[Want] = Want.NORMAL
    step_noise: ClassVar[tuple[Want, ...]] = (Want.NORMAL,) * 3
    kinetic = "thermal"
    carries = ("velocity",)

    def init(self, energy: Energy, position: Position, noise: Noise) -> QUICSORTState:
        velocity = thermal(self.temperature, self.inverse_mass.factor(noise))
        return QUICSORTState(position, velocity)

    def step(
        self, energy: Energy, state: QUICSORTState, noise: tuple[Position, ...]
    ) -> tuple[QUICSORTState, Info]:
        def acceleration(x: Position) -> Position:
            return self.inverse_mass.apply(gradient(energy, x))

        x, v = state
        into, along, whole = self._heat(noise)
        shifted = jax.tree.map(jnp.add, v, into)
        first = acceleration(self._coast(_EARLY, x, shifted, along))
        early = Kick(1.0, 1 / 3, first)
        second = acceleration(self._coast(_LATE, x, shifted, along, early))
        kicks = Kick(0.5, _LATE, first), Kick(0.5, _EARLY, second)
        moved = self._coast(1.0, x, shifted, along, *kicks)
        return QUICSORTState(moved, self._slow(v, shifted, whole, *kicks)), Info()

    def convert_state(self, energy: Energy, state: QUICSORTState, other: Self) -> QUICSORTState:
        """Velocities keep their size relative to the temperature's."""
        velocity = rescaled(state.velocity, self.temperature, other.temperature)
        return state._replace(velocity=velocity)

    def _heat(self, noise: tuple[Position, ...]) -> list[Position]:
        """σ(H + 6K), C, and all that the noise adds to the velocity, C a(h)/h + 12σK."""
        (scales, *_), (w, h, k) = zip(*map(self.inverse_mass.unmultiplied, noise), strict=True)

        def hot(a: jax.Array, xi: jax.Array, scale: jax.Array) -> jax.Array:
            size = scale * jnp.sqrt(2 * a * cast(self.temperature, xi))
            # Rounded before it is added to other products, as in `diffuse`.
            return separately_rounded(size * xi, hidden_zero(cast(self.step_size, xi)))

        def into(h: jax.Array, k: jax.Array, scale: jax.Array) -> jax.Array:
            return hot(self._slowing(h), 12**-0.5 * (h + 0.6**0.5 * k), scale)

        def along(w: jax.Array, k: jax.Array, scale: jax.Array) -> jax.Array:
            return hot(self._slowing(w), w - 0.2**0.5 * k, scale)

        def whole(w: jax.Array, k: jax.Array, scale: jax.Array) -> jax.Array:
            a = self._slowing(w)
            kept, lag = decayed(a)
            return hot(a, kept * (w + 0.2**0.5 * (a * lag / kept) * k), scale)

        return [
            jax.tree.map(into, h, k, scales),
            jax.tree.map(along, w, k, scales),
            jax.tree.map(whole, w, k, scales),
        ]

    def _slowing(self, like: jax.Array) -> jax.Array:
        """γh."""
        return cast(self.friction, like) * cast(self.step_size, like)

    def _coast(
        self, part: float, position: Position, velocity: Position, along: Position, *kicks: Kick
    ) -> Position:
        """The position at a part of h."""

        def move(x: jax.Array, v: jax.Array, c: jax.Array, *forces: jax.Array) -> jax.Array:
            h, a = cast(self.step_size, x), self._slowing(x)
            kept, lag = decayed(part * a)
            # All relative to the velocity, so that no sum has two products.
            mean = v + (part * lag / kept) * c
            for kick, force in zip(kicks, forces, strict=True):
                share = kick.weight * kick.rest / part * decayed(kick.rest * a)[0] / kept
                mean = mean - h * share * force
            return x + h * part * kept * mean

        accelerations = [kick.acceleration for kick in kicks]
        if part < 1:
            move = partial(apart, move)
        return jax.tree.map(move, position, velocity, along, *accelerations)

    def _slow(
        self, before: Position, velocity: Position, whole: Position, *kicks: Kick
    ) -> Position:
        """The velocity at the end, `velocity` having been that after the first shift."""

        def move(before: jax.Array, v: jax.Array, heat: jax.Array, *forces: jax.Array) -> jax.Array:
            h, a = cast(self.step_size, v), self._slowing(v)
            gained = heat + jnp.expm1(-a) * v
            for kick, force in zip(kicks, forces, strict=True):
                gained = gained - h * kick.weight * jnp.exp(-kick.rest * a) * force
            return before + gained

        accelerations = [kick.acceleration for kick in kicks]
        return jax.tree.map(move, before, velocity, whole, *accelerations)


def quicsort(
    step_size: HyperLike,
    friction: HyperLike,
    *,
    mass: ArrayLike | Preconditioner | PyTree = 1.0,
    temperature: HyperLike = 1.0,
) -> QUICSORT:
    """Underdamped Langevin dynamics to third order: QUICSORT (Foster, Lyons and Oberhauser 2021;
    Scott, O'Kane, Jelinčič and Foster 2025), "quadrature inspired and contractive shifted ODE with
    Runge-Kutta three".

        dx = v dt,    dv = -M⁻¹ ∇E(x) dt - γ v dt + sqrt(2 γ T) M^{-1/2} dW

    Over a step of size h the Brownian motion is replaced by a line between two jumps, which has the
    same increment W and the same time integrals up to the second, by the normals H and K. Between
    the jumps there is no noise, and force and friction are followed by two stages of Runge and
    Kutta. With σ = sqrt(2γT) M^{-1/2}, g(x) = M⁻¹∇E(x) and c = (3 - sqrt(3))/6, d = 1 - c,

        W = sqrt(h) ξ_1,    H = sqrt(h/12) ξ_2,    K = sqrt(h/720) ξ_3,    ξ ~ N(0, I)
        u   = v + σ (H + 6 K),    w = σ (W - 12 K)/h
        x_1 = x + a(c h) u + b(c h) w
        x_2 = x + a(d h) u + b(d h) w - h a(h/3) g(x_1)
        x'  = x + a(h) u + b(h) w - (h/2) (a(d h) g(x_1) + a(c h) g(x_2))
        v'  = e^{-γh} u + a(h) w - (h/2) (e^{-γdh} g(x_1) + e^{-γch} g(x_2)) - σ (H - 6 K)

    with a(t) = (1 - e^{-γt})/γ and b(t) = (t - a(t))/γ. For the same Brownian motion it is h³ away
    from the diffusion if the third derivatives of E are bounded and Lipschitz; `underdamped` is h²
    away with the word UBU and h with BAOAB.

    It samples p(x, v) ∝ exp(-(E(x) + ½ vᵀMv)/T) up to a bias of order h³. On a quadratic energy it
    is stable if h²λ/m < 6.2, λ the eigenvalues of ∇²E, whatever the friction. With little friction
    its variances are too small there, by about 0.0129 h³λ²/(m²γ) relatively: the scheme itself
    slows down. With much friction the jumps are larger than the velocity: keep γh below 1. The
    first velocity is drawn from N(0, T M⁻¹).

    A step costs two gradients, and three normals an element.

    Args:
        step_size: h > 0, a time, a scalar or a function of the step (see `Schedule`).
        friction: γ > 0, a rate, likewise.
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, or M not symmetric positive
            definite. A mass that does not fit the position is refused when it is run.
        TypeError: a hyper-parameter or mass that is not one.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> kernel = jl.quicsort(step_size=0.5, friction=1.0)
        >>> law = jl.exact.stationary(kernel, energy, jnp.zeros(1), full=True)
        >>> [round(float(law.cov[i, i]), 4) for i in range(2)]  # of position and velocity
        [0.9995, 0.9974]
    """
    return QUICSORT(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction),
        as_mass(mass).inverse(),
        hyperparameter("temperature", temperature),
    )
