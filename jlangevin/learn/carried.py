"""What goes on from update to update beside positions: velocities, and the like."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.each import each
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Kernel, Noise, Position
from jlangevin.kernels.traits import Traits

__all__ = ["Carried", "carried_by", "check_carried", "going_on"]

Carried = dict[str, Any]
"""Members of a kernel's states by their names, leaves (chain, …)."""


def carried_by(kernel: Kernel, state: Any) -> Carried:
    """What a kernel's state holds that neither position nor energy determine."""
    return {name: _member(state, name) for name in Traits.of(kernel).carries}


def check_carried(kernel: Kernel, carried: Carried | None) -> None:
    """Raise ValueError if a buffer carries other things than the kernel does."""
    names = Traits.of(kernel).carries
    if carried is not None and set(carried) != set(names):
        raise ValueError(
            f"buffer: beside positions it holds {', '.join(carried)}, but "
            f"{type(kernel).__name__} goes on with {', '.join(names) or 'nothing more'}; make "
            "it by jlangevin.learn.replay_buffer(…, kernel=kernel), with the kernel that moves it"
        )


def going_on(kernel: Kernel, carried: Carried | None, anew: jax.Array) -> Any:
    """`kernel` for chains that begin with what was carried, but for those that start `anew`."""
    return kernel if not carried else _GoingOn(kernel, each(carried), each(anew))


@pytree_dataclass
class _GoingOn(Around):
    carried: Any  # each(Carried), which in `init` is that of one chain
    anew: Any

    def init(self, energy: Energy, position: Position, noise: Noise) -> Any:
        """Energies and gradients are those of `energy`, which may be another one than before."""
        state = self.kernel.init(energy, position, noise)
        for name, before in self.carried.items():
            fresh = _member(state, name)
            trees.assert_like("buffer", before, fresh, f"its {name} is like the kernel's")
            chosen = jax.tree.map(functools.partial(jnp.where, self.anew), fresh, before)
            state = _with_member(state, name, chosen)
        return state


def _member(state: Any, name: str) -> PyTree:
    return functools.reduce(getattr, name.split("."), state)


def _with_member(state: Any, name: str, value: PyTree) -> Any:
    head, _, rest = name.partition(".")
    return state._replace(
        **{head: _with_member(getattr(state, head), rest, value) if rest else value}
    )
