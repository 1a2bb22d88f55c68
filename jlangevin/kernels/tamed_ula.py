"""ULA with a tamed drift, for energies that grow faster than a quadratic."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.arithmetic import fold, root
from jlangevin._core.checks import check_flag
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    PositionState,
    cast,
    hyperparameter,
)
from jlangevin.kernels.proposal import diffuse
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["TamedULA", "TamedULAState", "tamed_ula"]


TamedULAState = PositionState


@pytree_dataclass
class TamedULA(Convertible):
    """See `tamed_ula`."""

    step_size: Hyper
    temperature: Hyper
    coordinatewise: bool = static_field(default=False)

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(position)

    def step(
        self, energy: Energy, state: PositionState, noise: Noise
    ) -> tuple[PositionState, Info]:
        slope = gradient(energy, state.position)
        norm = None if self.coordinatewise else _norm(slope)

        def tame(g: jax.Array) -> jax.Array:
            size = jnp.abs(g) if norm is None else norm.astype(g.dtype)
            return g / (1 + cast(self.step_size, g) * size)

        drift = jax.tree.map(tame, slope)
        position = diffuse(self.step_size, self.temperature, state.position, drift, noise)
        return PositionState(position), Info()


def _norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm over all elements; squares neither overflow nor vanish."""
    flat = trees.ravel(tree)
    # The result does not depend on the scale, so neither does its derivative.
    largest = lax.stop_gradient(fold(jnp.maximum, jnp.max, jnp.abs(flat)))
    scale = jnp.where(largest > 0, largest, 1)
    return scale * root(fold(jnp.add, jnp.sum, (flat / scale) ** 2))


def tamed_ula(
    step_size: HyperLike, *, temperature: HyperLike = 1.0, coordinatewise: bool = False
) -> TamedULA:
    """The tamed unadjusted Langevin algorithm (Brosse, Durmus, Moulines and Sabanis 2019).

        x' = x - η ∇E(x) / (1 + η |∇E(x)|) + sqrt(2 η T) ξ,    ξ ~ N(0, I)

    It samples p(x) ∝ exp(-E(x)/T) up to a bias of order η. No step drifts further than 1, so a
    chain stays finite at every η however fast the gradient grows, where `ula` explodes; to come in
    from a distance r takes it at least r steps. One gradient a step. The step is affine, and has
    an exact law, where the gradient is constant, and only there.

    Args:
        step_size: η > 0, a scalar or a function of the step, as in `ula`.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        coordinatewise: tame each element of the gradient by its own size, g_i / (1 + η |g_i|),
            instead of by the norm over the whole position.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, far = lambda x: jnp.sum(x**8), jnp.full((3, 2), 20.0)
        >>> run = jl.sample(jax.random.key(0), energy, jl.tamed_ula(0.01), far, num_steps=100)
        >>> int(run.info.num_divergent.sum()), bool(jnp.abs(run.position).max() < 2)
        (0, True)
    """
    return TamedULA(
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
        check_flag("coordinatewise", coordinatewise),
    )
