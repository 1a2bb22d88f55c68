"""The Metropolis-adjusted Langevin algorithm between reflecting walls."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from jlangevin._core.trees import pytree_dataclass
from jlangevin.domains.base import Domain, admit, check_domain
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, HyperLike, Info, Position, cast, hyperparameter, if_sound
from jlangevin.kernels.metropolis import (
    Metropolis,
    MetropolisState,
    accept_or_keep,
    evaluate,
    total,
    unweighable,
)
from jlangevin.kernels.reflected import free_step
from jlangevin.noise import Want

__all__ = ["ReflectedMALA", "reflected_mala"]


@pytree_dataclass
class ReflectedMALA(Metropolis):
    """See `reflected_mala`."""

    step_size: Hyper
    temperature: Hyper
    domain: Domain

    step_noise: ClassVar[tuple[Want, Want]] = (Want.NORMAL, Want.UNIFORM)

    def init(self, energy: Energy, position: Position, noise: None) -> MetropolisState:
        return evaluate(energy, if_sound(self, admit(self.domain, position)))

    def step(
        self, energy: Energy, state: MetropolisState, noise: tuple[Position, jax.Array]
    ) -> tuple[MetropolisState, Info]:
        xi, uniform = noise
        target = free_step(self.step_size, self.temperature, state.position, state.gradient, xi)
        end, turned = self.domain.reflect(state.position, target)
        move = self.domain.tangent(jax.tree.map(jnp.subtract, target, state.position))
        proposed = evaluate(energy, end)
        slope, slope_there = (self.domain.tangent(s.gradient) for s in (state, proposed))

        def work(g: jax.Array, h: jax.Array, move: jax.Array, turned: jax.Array) -> jax.Array:
            """As in `langevin_work`, with what is left of the move for its end."""
            eta = cast(self.step_size, g)
            return 0.5 * (g * move + h * turned) - 0.25 * eta * (h + g) * (h - g)

        done = total(work, slope, slope_there, move, turned)
        cause = unweighable(energy, proposed)
        return accept_or_keep(state, proposed, done, self.temperature, uniform, cause)


def reflected_mala(
    step_size: HyperLike, domain: Domain, *, temperature: HyperLike = 1.0
) -> ReflectedMALA:
    """MALA with walls that are mirrors, after the reflected leapfrog of Afshar and Domke (2015).

        d = -η ∇E(x) + sqrt(2 η T) ξ,    ξ ~ N(0, I)
        y, d' = reflect(x, x + d),    |d'| = |d|
        x' = y with probability min(1, exp(-Δ/T)), else x
        Δ = E(y) - E(x) - ½ (g·d + g'·d') + ¼ η (|g'|² - |g|²),    g = ∇E(x), g' = ∇E(y)

    The straight move d from x ends at y, as every wall on its way reflects it, and is then d'. The
    chain samples p(x) ∝ exp(-E(x)/T) on the domain without bias. It is a leapfrog step of size
    h = sqrt(2η), Δ being the rise of energy and kinetic energy: reflections keep volume, lengths
    and the way back. On a simplex g, g' and d are their parts along it. Where no wall is hit it is
    `mala`, and where E is constant nothing is rejected. One gradient a step.

    Args:
        step_size: η > 0, a scalar or a function of the step, as in `mala`.
        domain: one of `jlangevin.domains`.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.

    Raises:
        TypeError: `domain` is not a domain.
        ValueError: a hyper-parameter that is not finite and positive. A start outside of the
            domain is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, domain = jl.energies.linear([1.0]), jl.domains.box(0.0, jnp.inf)
        >>> run = jl.sample(jax.random.key(0), energy, jl.reflected_mala(0.5, domain),
        ...                 jnp.ones((10_000, 1)), num_steps=50, observe=None)
        >>> round(float(run.position.mean()), 1)
        1.0
    """
    check_domain(domain)
    return ReflectedMALA(
        hyperparameter("step_size", step_size), hyperparameter("temperature", temperature), domain
    )
