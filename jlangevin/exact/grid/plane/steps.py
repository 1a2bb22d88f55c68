"""A kernel's step of a state of two numbers, at many states and noises at a time.

The two numbers are a position of two elements, or a position of one element and the normal that
`init` takes beside it. In the second case the kernel carries something from step to step, a
velocity or half of the noise. It is measured in units of that normal: after a step to x' it is the
ζ' for which init(x', ζ') is the state.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.regions import temperature_of
from jlangevin.exact.grid.steps import HostSteps, as_grid_position
from jlangevin.kernels.base import Kernel, layers, resolve_schedules
from jlangevin.noise import Want

__all__ = ["PlaneSteps", "is_of_plane"]

_MOST_NORMALS = 2
_ALIKE = 1e5  # by how many roundings a state may differ from what init makes


def is_of_plane(kernel: Any, position: PyTree) -> bool:
    """Whether the state is two numbers: a position of two elements, or one element and noise that
    `init` takes."""
    if isinstance(position, str | bytes) or not jax.tree.leaves(position):
        return False
    if not all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(position)):
        return False
    starts_with = jax.tree.leaves(getattr(kernel, "init_noise", None))
    return trees.size(position) == 2 or (trees.size(position) == 1 and bool(starts_with))


class PlaneSteps(HostSteps):
    """The step of a chain in the plane. States are (2, m), normals (normals, m).

    Attributes:
        carries: whether the second number is the normal that `init` takes.
        num_normals: how many numbers of noise a step asks for.
    """

    def __init__(self, kernel: Kernel, energy: Energy, position: PyTree) -> None:
        super().__init__(kernel, energy, as_grid_position("position", position))
        self.carries = trees.size(self.like) == 1
        for one in (*layers(kernel), energy):
            if hasattr(getattr(one, "domain", None), "contains"):
                raise NoGridLawError(
                    f"kernel, energy: {type(one).__name__} has walls, which a grid in two "
                    "dimensions cannot have; in one dimension a grid can, and if coordinates move "
                    "independently exact.product_law has such a law for each"
                )
        kinds = self._kinds(kernel)
        self.num_normals = kinds.count(Want.NORMAL) if self.carries else 2
        self._see(kinds)
        self.temperature = temperature_of(kernel)

    def _kinds(self, kernel: Kernel) -> list[Want]:
        begins, wants = (jax.tree.leaves(w) for w in (kernel.init_noise, kernel.step_noise))
        single = all(isinstance(want, Want) for want in (*begins, *wants))
        kinds = [noise.kind_of_want(want) for want in wants]
        normals = kinds.count(Want.NORMAL)
        if self.carries:
            fits = single and begins == [Want.NORMAL] and kinds == [Want.NORMAL] * normals
            if not fits or not 1 <= normals <= _MOST_NORMALS:
                raise NoGridLawError(
                    f"kernel: {self.name} starts with noise of its own, and so has more of a state "
                    "than the position. A grid holds such kernels if they start with one normal, "
                    f"accept every step, and ask for at most {_MOST_NORMALS} normals in it: "
                    "leimkuhler_matthews, underdamped (BAOAB, OBABO, BUB, … but not UBU), your own"
                )
        elif begins or not single or normals != 1 or len(kinds) > 1 + kinds.count(Want.UNIFORM):
            raise NoGridLawError(
                f"kernel: {self.name} has more of a state than a position of two elements, or asks "
                "for more than one normal an element and one uniform; a grid in two dimensions is "
                "for ula, tamed_ula, mala and your own kernels like these"
            )
        return kinds

    def __call__(self, s: Floats, z: Floats, uniform: Any = None) -> tuple[Floats, Floats]:
        """Where steps from `s` with normals `z` lead, (2, m), and the acceptance rates, (m,).

        Without a uniform the smallest one is used, so that the step is the proposal.
        """
        after, rate, _ = self._map(_stepped, s, z, self._uniforms(s, uniform))
        return after, rate

    def gaps(self, s: Floats, z: Floats) -> Floats:
        """How far the state after a step is from any that `init` can make at its position."""
        _, _, gap = self._map(_stepped, s, z, self._uniforms(s, None))
        return gap

    def energies(self, s: Floats) -> Floats:
        """E/T; plus ζ²/2 if a normal ζ is carried."""
        if not self.carries:
            return self._map(_energies, s)[0] / self.temperature
        return self._map(_energies, s[:1])[0] / self.temperature + s[1] ** 2 / 2

    def _uniforms(self, s: Floats, uniform: Any) -> Floats:
        tiny = float(jnp.finfo(self.dtype).tiny)
        return np.broadcast_to(np.asarray(tiny if uniform is None else uniform), s.shape[1:])

    def check_state(self, s: Floats) -> None:
        """Raise if a state is more than its two numbers, as far as can be seen at states `s`."""
        z = np.cos(np.arange(1, self.num_normals * s.shape[1] + 1) * 2.39996).reshape(
            -1, s.shape[1]
        )
        gap = self.gaps(s, 2 * z)
        if not np.nanmax(gap, initial=0) <= _ALIKE * float(np.finfo(self.dtype).eps):
            holds = "its position and one normal" if self.carries else "its position"
            raise NoGridLawError(
                f"kernel: the state of {self.name} is more than {holds}: after a step it is not "
                "what init makes of these. A grid holds nothing else"
            )


def _begun(kernel: Any, energy: Any, place: Any, s: Any) -> Any:
    """The state that `init` makes of two numbers."""
    if not jax.tree.leaves(kernel.init_noise):
        return kernel.init(energy, place(s), None)
    made = jax.tree.map(lambda want: place(s[1:]), kernel.init_noise)
    return kernel.init(energy, place(s[:1]), made)


@compiled
def _stepped(of: Parted, on: Parted, like: PyTree, s: Any, z: Any, u: Any) -> Any:
    kernel, energy = resolve_schedules(of.whole, jnp.int32(0)), on.whole
    place = trees.unraveler(like)
    carries = bool(jax.tree.leaves(kernel.init_noise))

    def one(s: Any, z: Any, u: Any) -> Any:
        normals = iter([place(row[None]) for row in z] if carries else [place(z)])
        made = jax.tree.map(lambda w: next(normals) if w is Want.NORMAL else u, kernel.step_noise)
        state, info = kernel.step(energy, _begun(kernel, energy, place, s), made)
        rate = jnp.ones_like(u) if info.acceptance_rate is None else info.acceptance_rate
        x = trees.ravel(state.position).astype(s.dtype)
        if not carries:
            again = _begun(kernel, energy, place, x)
            return x, rate.astype(s.dtype), _gap(state, again, s.dtype)
        without, with_one = (
            _begun(kernel, energy, place, jnp.append(x, jnp.asarray(normal, x.dtype)))
            for normal in (0, 1)
        )
        slope = _flat(with_one, s.dtype) - _flat(without, s.dtype)
        size = jnp.sum(slope * slope)
        carried = jnp.sum(slope * (_flat(state, s.dtype) - _flat(without, s.dtype)))
        carried = carried / jnp.where(size > 0, size, 1)
        after = jnp.append(x, carried)
        again = _begun(kernel, energy, place, after)
        return after, rate.astype(s.dtype), _gap(state, again, s.dtype)

    return jax.vmap(one, in_axes=-1, out_axes=-1)(s, z, u)


def _flat(state: Any, dtype: Any) -> jax.Array:
    leaves = [jnp.ravel(jnp.asarray(leaf)).astype(dtype) for leaf in jax.tree.leaves(state)]
    return jnp.concatenate(leaves)


def _gap(state: Any, again: Any, dtype: Any) -> jax.Array:
    a, b = _flat(state, dtype), _flat(again, dtype)
    return jnp.max(jnp.where(a == b, 0, jnp.abs(a - b) / (1 + jnp.abs(b))), initial=0)


@compiled
def _energies(of: Parted, on: Parted, like: PyTree, x: Any) -> tuple[Any]:
    energy, place = on.whole, trees.unraveler(like)
    return (jax.vmap(lambda x: energy(place(x)).astype(x.dtype), in_axes=-1)(x),)
