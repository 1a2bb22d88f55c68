"""Stochastic gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero, product, separately_rounded
from jlangevin._core.checks import as_array, check_spd
from jlangevin._core.each import Each
from jlangevin._core.trees import Numbers, pytree_dataclass
from jlangevin.energies.base import Energy
from jlangevin.estimators import Estimator, check_estimator, estimate
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    Schedule,
    cast,
    hyperparameter,
)
from jlangevin.kernels.momentum import added, thermal
from jlangevin.noise import Want

__all__ = ["SGHMC", "SGHMCState", "sghmc"]


class SGHMCState(NamedTuple):
    """Position and velocity."""

    position: Position
    velocity: Position


class Spectrum(NamedTuple):
    """A symmetric matrix by its eigenvalues and eigenvectors."""

    values: jax.Array
    vectors: jax.Array


@pytree_dataclass
class SGHMC:
    """See `sghmc`."""

    step_size: Hyper
    friction: Hyper
    estimator: Estimator
    mass: Hyper
    temperature: Hyper
    known: Spectrum | None

    init_noise: ClassVar[Want] = Want.NORMAL
    step_noise: ClassVar[tuple[Want, Want]] = (Want.NORMAL, Want.KEY)
    kinetic = "thermal"
    carries = ("velocity",)

    def init(self, energy: Energy, position: Position, noise: Noise) -> SGHMCState:
        return SGHMCState(position, thermal(self.temperature, noise, self.mass))

    def step(
        self, energy: Energy, state: SGHMCState, noise: tuple[Position, jax.Array]
    ) -> tuple[SGHMCState, Info]:
        xi, key = noise

        def kick(v: jax.Array, g: jax.Array, heat: jax.Array) -> jax.Array:
            h, friction, mass = (cast(p, v) for p in (self.step_size, self.friction, self.mass))
            # The increment first, and no sum of two products, as in `ula`.
            lost = separately_rounded(h * (friction * v + g / mass), hidden_zero(h))
            return v + (heat - lost)

        position = added(self.step_size, state.position, state.velocity)
        slope = estimate(self.estimator, key, position)
        velocity = jax.tree.map(kick, state.velocity, slope, self._heat(xi))
        return SGHMCState(position, velocity), Info()

    def _heat(self, noise: Position) -> Position:
        """Normals of the covariance 2γhT/m - h² V/m², or NaN where that is below zero."""
        if self.known is None:
            return jax.tree.map(lambda xi: self._scale(jnp.zeros((), xi.dtype)) * xi, noise)
        flat, unravel = trees.ravel(noise), trees.unraveler(noise)
        values, vectors = (leaf.astype(flat.dtype) for leaf in self.known)
        if vectors.shape != (flat.size, flat.size):
            raise ValueError(
                f"gradient_cov: of shape {vectors.shape}, does not fit a position of "
                f"{flat.size} elements"
            )
        return unravel(product(vectors, self._scale(values) * flat))

    def _scale(self, known: jax.Array) -> jax.Array:
        h, friction, mass, temperature = (
            cast(p, known) for p in (self.step_size, self.friction, self.mass, self.temperature)
        )
        zero = hidden_zero(h)
        injected = separately_rounded(2 * friction * temperature, zero) - separately_rounded(
            h * known / mass, zero
        )
        return separately_rounded(jnp.sqrt(injected * h / mass), zero)


def sghmc(
    step_size: HyperLike,
    friction: HyperLike,
    estimator: Estimator,
    *,
    mass: ArrayLike | Each = 1.0,
    temperature: HyperLike = 1.0,
    gradient_cov: Numbers | None = None,
) -> SGHMC:
    """Stochastic gradient Hamiltonian Monte Carlo (Chen, Fox and Guestrin 2014).

        x' = x + h v
        v' = v - h ĝ(x')/m - h γ v + sqrt(2 γ h T/m - h² V/m²) ξ,    E[ĝ(x)] = ∇E(x),  ξ ~ N(0, I)

    It samples p(x, v) ∝ exp(-(E(x) + ½ m |v|²)/T) up to a bias of order h. V is what is known of
    the covariance of ĝ: the estimate brings the noise h² V/m² with it, and so much less is
    injected. What is not known raises T by h (C - V)/(2γm), C the covariance that ĝ has; more
    friction drowns it. One estimate and one normal an element a step. There is no affine law, as
    the estimate is a function of a key. The first velocity is drawn from N(0, T/m I).

    The energy given to `jlangevin.sample` is looked at to check a start, and nowhere else.

    Args:
        step_size: h > 0, a time, a scalar or a function of the step (see `Schedule`). Where others
            have a learning rate η and a momentum decay α, as Chen, Fox and Guestrin do, h is
            sqrt(η) at m = 1, and γ is α/h.
        friction: γ > 0, a rate, likewise.
        estimator: from a key and a position to an unbiased estimate of ∇E there; see
            `jlangevin.estimators`.
        mass: m > 0, a scalar or a function of the step.
        temperature: T > 0, likewise.
        gradient_cov: V, (d, d) over the raveled position, symmetric positive semi-definite; None
            for 0.

    Raises:
        TypeError: `estimator` cannot be called.
        ValueError: a hyper-parameter that is not finite and positive; V not symmetric positive
            semi-definite, or so large that nothing is left to inject: 2γmT > hV is needed. With
            schedules or traced values a chain turns NaN where that fails, and is counted.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> batches = jl.estimators.minibatch(lambda x, y: 0.5 * (x - y)**2, jnp.arange(100.0), 10)
        >>> run = jl.sample(jax.random.key(0), batches.energy, jl.sghmc(0.01, 10.0, batches),
        ...                 jnp.full(3, 50.0), num_steps=20)
        >>> run.draws.shape
        (3, 20)
    """
    check_estimator(estimator)
    kernel = SGHMC(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction),
        estimator,
        hyperparameter("mass", mass),
        hyperparameter("temperature", temperature),
        None,
    )
    if gradient_cov is None:
        return kernel
    matrix = as_array("gradient_cov", gradient_cov, ndim=2)
    matrix = check_spd("gradient_cov", matrix, semidefinite=True)
    values, vectors = jnp.linalg.eigh(matrix)
    known = Spectrum(jnp.maximum(values, 0), vectors)
    numbers = (kernel.step_size, kernel.friction, kernel.mass, kernel.temperature)
    if not any(isinstance(p, Schedule) for p in numbers) and trees.is_concrete(numbers, known):
        h, gamma, m, temperature = (
            np.asarray(p.rows if isinstance(p, Each) else p, np.float64) for p in numbers
        )
        most = np.min(2 * gamma * m * temperature / h)  # of the chains, if they differ
        largest = float(jnp.max(known.values, initial=0))
        if largest >= most:
            raise ValueError(
                f"gradient_cov: its largest eigenvalue, {largest:.6g}, is not below 2γmT/h = "
                f"{most:.6g}, so the estimate alone heats more than the friction cools; take a "
                "smaller step_size, more friction or a larger batch"
            )
    return replace(kernel, known=known)
