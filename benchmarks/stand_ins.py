"""Update rules of peers that no kernel of ours has.

`audit.py` shows what an audit says of them; `peers.py` holds ASE's against ASE itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.noise import Want


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
