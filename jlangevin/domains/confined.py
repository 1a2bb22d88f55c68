"""Energies that are infinite outside a domain."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.domains.base import Domain, check_domain
from jlangevin.domains.simplex import Simplex
from jlangevin.energies.base import Energy, WrappedEnergy, check_callable, gradient

__all__ = ["Confined", "confine"]


@pytree_dataclass
class Confined(WrappedEnergy):
    """See `confine`."""

    domain: Domain

    def __call__(self, x: PyTree) -> jax.Array:
        value: jax.Array = self.energy(x)
        return jnp.where(self.domain.contains(x), value, jnp.inf)

    def gradient(self, x: PyTree) -> PyTree:
        """∇E inside and NaN outside, where autodiff would return the 0 of a constant."""
        inside = self.domain.contains(x)
        slope = gradient(self.energy, x)
        return jax.tree.map(lambda g: jnp.where(inside, g, jnp.nan), slope)


def confine(energy: Energy, domain: Domain) -> Confined:
    """E inside `domain` and +∞ outside, where its gradient is NaN.

    A kernel that accepts or rejects by the energy (`mala`, `barker`, `malt`, `ghmc`) rejects
    proposals that are not finite, and so samples the law restricted to the domain, without bias.
    With any other kernel a chain that leaves the domain diverges in the next step at the latest,
    and is reported.

    Args:
        energy: any energy; outside the domain it may be anything.
        domain: any domain but a simplex, which has no interior that a move in space could hit.

    Raises:
        TypeError: the energy cannot be called, or the domain is not one, or is a simplex.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> half_normal = jl.domains.confine(lambda x: 0.5 * x @ x, jl.domains.box(0.0, jnp.inf))
        >>> run = jl.sample(jax.random.key(0), half_normal, jl.mala(0.5), jnp.ones((100, 1)),
        ...                 num_steps=100)
        >>> bool(run.draws.min() >= 0)
        True
    """
    check_callable(energy)
    check_domain(domain)
    if isinstance(domain, Simplex):
        raise TypeError("domain: no move in space ends on a simplex; use jlangevin.mirrored")
    return Confined(energy, domain)
