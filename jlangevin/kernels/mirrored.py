"""Any kernel, run in the dual coordinates of a domain."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.domains.base import Domain, admit, check_domain, wraps
from jlangevin.energies.base import Energy, WrappedEnergy, gradient
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Hyper, Info, Noise, Position, WithTemperature, cast
from jlangevin.kernels.nesting import check_inside
from jlangevin.noise import Want

__all__ = ["Mirrored", "MirroredState", "mirrored"]


class MirroredState(NamedTuple):
    """Where a chain is, and the state of the kernel that moves it, whose position is u."""

    position: Position  # x = x(u)
    dual: PyTree


@pytree_dataclass
class DualEnergy(WrappedEnergy):
    """W(u) = E(x(u)) - T log |det ∂x/∂u|; the density of u is proportional to exp(-W/T)."""

    domain: Domain
    temperature: Hyper

    def __call__(self, u: PyTree) -> jax.Array:
        value: jax.Array = self.energy(self.domain.primal(u))
        return value - self._volume(u).astype(value.dtype)

    def gradient(self, u: PyTree) -> PyTree:
        x, pull = jax.vjp(self.domain.primal, u)
        (slope,) = pull(gradient(self.energy, x))
        return jax.tree.map(jnp.subtract, slope, jax.grad(self._volume)(u))

    def rounded(self, u: PyTree) -> jax.Array:
        """Whether x(u) is on the boundary, where rounding alone has put it."""
        x = self.domain.primal(u)
        if hasattr(self.domain, "on_wall"):
            return self.domain.on_wall(x)
        again = self.domain.dual(x)
        inside = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(again)]
        return ~jnp.all(jnp.stack(inside))

    def _volume(self, u: PyTree) -> jax.Array:
        log_det = self.domain.log_det(u)
        return cast(self.temperature, log_det) * log_det


@pytree_dataclass
class Mirrored(Around):
    """See `mirrored`."""

    domain: Any

    @property
    def init_noise(self) -> PyTree:
        return self.kernel.init_noise, Want.NORMAL

    @property
    def carries(self) -> tuple[str, ...]:
        return tuple(f"dual.{name}" for name in super().carries)

    def init(self, energy: Energy, position: Position, noise: Noise) -> MirroredState:
        inner, spare = noise
        u = self.domain.dual(position, spare)
        return MirroredState(
            admit(self.domain, position), self.kernel.init(self.dual_energy(energy), u, inner)
        )

    def step(
        self, energy: Energy, state: MirroredState, noise: Noise
    ) -> tuple[MirroredState, Info]:
        moved, info = self.kernel.step(self.dual_energy(energy), state.dual, noise)
        position = self.domain.primal(moved.position)
        if wraps(self.domain) and hasattr(moved, "_replace"):
            moved = moved._replace(position=position)  # u does not wind away
        return MirroredState(position, moved), info

    def dual_energy(self, energy: Energy) -> DualEnergy:
        """W, on which the kernel inside is run."""
        return DualEnergy(energy, self.domain, self.kernel.temperature)


def mirrored(kernel: WithTemperature, domain: Domain) -> Mirrored:
    """`kernel` in coordinates u that are free, x = x(u) being inside of the domain.

    It is run on the energy whose law at the kernel's temperature T is that of u:

        W(u) = E(x(u)) - T log |det ∂x/∂u|

    with x(u) = ∇h*(u) the domain's mirror map. With `ula` this is mirrored Langevin (Hsieh,
    Kavis, Rolland and Cevher 2018), biased as `ula` is on W; with a kernel that accepts or
    rejects, as `mala`, it is without bias. What an energy does at the boundary does not matter as
    long as it is integrable: x gets there only by rounding, and a Dirichlet law, infinite at the
    faces, is smooth in u. Step sizes and preconditioners are those of u; but for the simplex u and
    x move alike away from the walls.

    Args:
        kernel: any with a constant `temperature` that takes its gradients from the energy and has
            no walls of its own.
        domain: one of `jlangevin.domains`.

    Raises:
        TypeError: no kernel or no domain; a kernel without a temperature, by which log det has to
            be multiplied; one whose gradients come from an estimator, which knows nothing of u; one
            with walls, as `projected`, `reflected` and `reflected_mala` have, which would be taken
            for walls in u.
        ValueError: a temperature that is a schedule: energies and forces that a kernel carries
            from step to step would be of another W. A start outside of the domain, or on its
            boundary, is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> dirichlet = lambda x: -jnp.sum(jnp.array([-0.5, 0.0, 1.0]) * jnp.log(x))
        >>> kernel = jl.mirrored(jl.mala(0.5), jl.domains.simplex())
        >>> run = jl.sample(jax.random.key(0), dirichlet, kernel, jnp.full((10_000, 3), 1 / 3),
        ...                 num_steps=100, observe=None)
        >>> [round(float(x), 1) for x in run.position.mean(axis=0)]  # 1/7, 2/7, 4/7
        [0.1, 0.3, 0.6]
    """
    check_inside("mirrored", kernel)
    check_domain(domain)
    return Mirrored(kernel, domain)
