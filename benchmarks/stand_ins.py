"""Update rules of peers that no kernel of ours has, as kernels.

`audit.py` shows what an audit says of them; `peers.py` holds ASE's against ASE itself, and
`tests/test_stand_ins.py` the others against variances that were measured of the peers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.energies.base import GivenGradient
from jlangevin.kernels import ULAState
from jlangevin.noise import Want

FRICTION = 1.0


class Moving(NamedTuple):
    """A state with a velocity, of mass 1 unless the kernel says otherwise."""

    position: Any
    velocity: Any


@pytree_dataclass
class Expanded:
    """Vanden-Eijnden and Ciccotti (2006), equation 23, as ASE runs it: the friction is expanded.

    With a(v, x) = -∇E(x)/m - γ v and σ = sqrt(2γT/m), twice

    v ← v + (h/2 - γh²/8) a(v, x) + σ (sqrt(h)/2 - γ h^(3/2)/8) ξ - γ h^(3/2) σ/(4 sqrt(3)) η

    and between them x ← x + h v + h^(3/2) σ/(2 sqrt(3)) η, with the same ξ and η throughout.
    """

    step_size: Any
    friction: Any
    temperature: Any
    mass: Any = 1.0

    init_noise = Want.NORMAL
    step_noise = (Want.NORMAL, Want.NORMAL)

    def init(self, energy: Any, position: Any, noise: Any) -> Moving:
        return Moving(position, jnp.sqrt(self.temperature / self.mass) * noise)

    def step(self, energy: Any, state: Moving, noise: Any) -> tuple[Moving, jl.Info]:
        (x, v), (xi, eta) = state, noise
        h, y = self.step_size, self.friction
        sigma = jnp.sqrt(2 * y * self.temperature / self.mass)
        kick = sigma * (h**0.5 / 2 - y * h**1.5 / 8) * xi - y * h**1.5 * sigma / 48**0.5 * eta

        def half(x: Any, v: Any) -> Any:
            return v + (h / 2 - y * h**2 / 8) * (-jax.grad(energy)(x) / self.mass - y * v) + kick

        v = half(x, v)
        x = x + h * v + h**1.5 * sigma / 12**0.5 * eta
        return Moving(x, half(x, v)), jl.Info()


@pytree_dataclass
class AtRest:
    """BAOAB with a first velocity of zero."""

    kernel: Any

    init_noise = None

    @property
    def step_noise(self) -> Any:
        return self.kernel.step_noise

    def init(self, energy: Any, position: Any, noise: None) -> Any:
        return self.kernel.init(energy, position, jnp.zeros_like(position))

    def step(self, energy: Any, state: Any, noise: Any) -> Any:
        return self.kernel.step(energy, state, noise)


@pytree_dataclass
class EulerTrajectory:
    """SGHMC as BlackJAX writes it: a fresh velocity, then Euler's steps. Affine, so it has a law.

    x ← x + h v,   v ← (1 - αh) v - h ∇E(x before) + sqrt(2αhT) ξ
    """

    step_size: Any
    temperature: Any
    fresh: Any  # the variance of the fresh velocity
    leaps: int = static_field()

    init_noise = None

    @property
    def step_noise(self) -> Any:
        return (Want.NORMAL,) * (self.leaps + 1)

    def init(self, energy: Any, position: Any, noise: None) -> ULAState:
        return ULAState(position)

    def step(self, energy: Any, state: ULAState, noise: Any) -> tuple[ULAState, jl.Info]:
        (x,), h = state, self.step_size
        v = jnp.sqrt(self.fresh).astype(x.dtype) * noise[0]
        for xi in noise[1:]:
            heat = jnp.sqrt(2 * FRICTION * h * self.temperature)
            x, v = x + h * v, (1 - FRICTION * h) * v - h * jax.grad(energy)(x) + heat * xi
        return ULAState(x), jl.Info()


def half_square(h: Any, temperature: Any) -> jl.kernels.ULA:
    """ULA that proposes as a leapfrog on E/T does, or with noise of scale h."""
    return jl.ula(h**2 / (2 * temperature), temperature=temperature)


# Overdamped ----------------------------------------------------------------------------------


@pytree_dataclass
class Overdamped:
    """x ← rule(∇E, η, T, x, ξ)."""

    rule: Callable[..., Any] = static_field()
    step_size: Any
    temperature: Any

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy: Any, position: Any, noise: None) -> ULAState:
        return ULAState(position)

    def step(self, energy: Any, state: ULAState, noise: Any) -> tuple[ULAState, jl.Info]:
        given = jax.grad(energy), self.step_size, self.temperature, state.position, noise
        return ULAState(self.rule(*given)), jl.Info()


def heun(slope: Any, eta: Any, heat: Any, x: Any, xi: Any) -> Any:
    """TorchEBM's `heun`: no noise in the predictor."""
    predicted = x - eta * slope(x)
    return x - eta * (slope(x) + slope(predicted)) / 2 + jnp.sqrt(2 * eta * heat) * xi


def backward_euler(slope: Any, eta: Any, heat: Any, x: Any, xi: Any) -> Any:
    """TorchEBM's `backward_euler_maruyama`: the noise comes after the implicit step."""
    implicit = jax.lax.fori_loop(0, 60, lambda _, y: (y + x - eta * slope(y)) / 2, x)
    return implicit + jnp.sqrt(2 * eta * heat) * xi


def clipped(slope: Any, eta: Any, heat: Any, x: Any, xi: Any) -> Any:
    """deepinv's `ULA`, with its default `clip`."""
    return jnp.clip(x - eta * slope(x) + jnp.sqrt(2 * eta * heat) * xi, -1, 2)


def lattice(slope: Any, eta: Any, heat: Any, x: Any, xi: Any) -> Any:
    """posteriors' `sglrw`: a walk on a lattice, with ULA's mean and variance.

    Here each step has three values; there three and two in turn.
    """
    drift, variance = -eta * slope(x), 2 * eta * heat
    width = jnp.sqrt(3 * variance)
    slant = jnp.clip(drift / width, -1, 1)
    moves = jnp.minimum(1 / 3 + slant**2, 1)
    up, down = (moves + slant) / 2, (moves - slant) / 2
    u = jax.scipy.stats.norm.cdf(xi)
    return x + jnp.where(u < down, -width, jnp.where(u > 1 - up, width, 0))


# With a velocity -----------------------------------------------------------------------------


@pytree_dataclass
class Kinetic:
    """x, v ← rule(∇E, h, T, x, v, ξ), for mass 1."""

    rule: Callable[..., Any] = static_field()
    step_size: Any
    temperature: Any
    friction: Any = FRICTION

    init_noise = Want.NORMAL
    step_noise = Want.NORMAL

    def init(self, energy: Any, position: Any, noise: Any) -> Moving:
        return Moving(position, jnp.sqrt(self.temperature) * noise)

    def step(self, energy: Any, state: Moving, noise: Any) -> tuple[Moving, jl.Info]:
        scale = jnp.sqrt(2 * self.friction * self.temperature * self.step_size)
        given = jax.grad(energy), self.step_size, self.friction, *state, scale * noise
        return Moving(*self.rule(*given)), jl.Info()


def between_kicks(slope: Any, h: Any, friction: Any, x: Any, v: Any, kick: Any) -> Any:
    """torchmd: Verlet, with explicit friction between the kicks."""
    v = v - h / 2 * slope(x)
    x = x + h * v
    v = (1 - friction * h) * v + kick
    return x, v - h / 2 * slope(x)


def explicit_euler(slope: Any, h: Any, friction: Any, x: Any, v: Any, kick: Any) -> Any:
    """posteriors' `sghmc`."""
    return x + h * v, (1 - friction * h) * v - h * slope(x) + kick


def brownian(slope: Any, h: Any, friction: Any, x: Any, v: Any, kick: Any) -> Any:
    """OpenMM's `BrownianIntegrator`: its velocities are displacements over h."""
    moved = (kick - h * slope(x)) / friction
    return x + moved, moved / h


class Forced(NamedTuple):
    """A state that keeps the force of the last step, friction and noise included."""

    position: Any
    velocity: Any
    force: Any


@pytree_dataclass
class FixLangevin:
    """LAMMPS's `fix langevin` and `fix nve`, with normals for its uniforms, for mass 1.

    v ← v + h f/2,   x ← x + h v,   f ← -∇E(x) - γ v + sqrt(2γT/h) ξ,   v ← v + h f/2
    """

    step_size: Any
    temperature: Any
    friction: Any = FRICTION

    init_noise = (Want.NORMAL, Want.NORMAL)
    step_noise = Want.NORMAL

    def _force(self, energy: Any, x: Any, v: Any, xi: Any) -> Any:
        heat = jnp.sqrt(2 * self.friction * self.temperature / self.step_size)
        return heat * xi - jax.grad(energy)(x) - self.friction * v

    def init(self, energy: Any, position: Any, noise: Any) -> Forced:
        v = jnp.sqrt(self.temperature) * noise[0]
        return Forced(position, v, self._force(energy, position, v, noise[1]))

    def step(self, energy: Any, state: Forced, noise: Any) -> tuple[Forced, jl.Info]:
        (x, v, force), h = state, self.step_size
        v = v + h / 2 * force
        x = x + h * v
        force = self._force(energy, x, v, noise)
        return Forced(x, v + h / 2 * force, force), jl.Info()


# What is not a kernel ------------------------------------------------------------------------


@jax.jit
def batch_corrector(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: Any) -> Any:
    """diffusers' corrector: η = 2 (snr ‖ξ‖/‖s‖)², norms averaged over the batch; snr² = step/2."""
    score = jax.vmap(jax.grad(lambda x: -energy(x) / heat))

    def mean_norm(x: Any) -> Any:
        return jnp.linalg.norm(x, axis=1).mean()

    def move(t: Any, x: Any) -> Any:
        xi = jax.random.normal(jax.random.fold_in(key, t), x.shape, x.dtype)
        eta = step * (mean_norm(xi) / mean_norm(score(x))) ** 2
        return x + eta * score(x) + jnp.sqrt(2 * eta) * xi

    return jax.lax.fori_loop(0, num_steps, move, init)


class Smoothed(GivenGradient):
    """CUQIpy's Moreau-Yoshida prior: its gradient is that of its value over s."""

    def __init__(self, s: float) -> None:
        self.s = s

    def __call__(self, x: Any) -> Any:
        return self.s * jnp.sum(x**2) / 2

    def gradient(self, x: Any) -> Any:
        return x
