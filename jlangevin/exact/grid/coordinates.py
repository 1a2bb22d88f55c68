"""One coordinate of a chain whose coordinates move independently, as a chain in one dimension."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_known, check_width
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree, pytree_dataclass
from jlangevin.energies.base import Energy, WrappedEnergy, check_energy, gradient
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.steps import as_grid_position, refuse_schedules
from jlangevin.kernels.base import (
    Info,
    Kernel,
    PositionState,
    check_kernel,
    layers,
)
from jlangevin.noise import Want

__all__ = ["Coordinate", "coordinate", "coordinates"]

_SIZES = (0.3, 1.0, 3.0)  # of probes around the position
_FEW = 300  # coordinates up to which a program takes longer to compile than to run


class Coordinate(NamedTuple):
    """A chain in one dimension, as the functions on grids take it."""

    kernel: Any
    energy: Any
    position: jax.Array  # (1,)


@pytree_dataclass
class Whole:
    """A position, and the index of the element that varies."""

    position: Any
    place: Any  # int32, of the element in the raveled position

    def with_element(self, x: PyTree) -> PyTree:
        flat = trees.ravel(self.position)
        return trees.unraveler(self.position)(flat.at[self.place].set(x[0]))

    def element(self, tree: PyTree) -> jax.Array:
        return trees.ravel(tree)[self.place][None]

    def noise(self, wants: PyTree, made: PyTree) -> PyTree:
        """Noise of the whole position, 0 except at the element."""
        quiet = Whole(trees.zeros(self.position), self.place)
        return jax.tree.map(
            lambda want, z: quiet.with_element(z) if want is Want.NORMAL else z, wants, made
        )


@pytree_dataclass
class CoordinateEnergy(WrappedEnergy):
    """An energy as a function of one element."""

    whole: Any

    def __call__(self, x: PyTree) -> jax.Array:
        value: jax.Array = self.energy(self.whole.with_element(x))
        return value

    def gradient(self, x: PyTree) -> jax.Array:
        found: jax.Array = self.whole.element(gradient(self.energy, self.whole.with_element(x)))
        return found


@pytree_dataclass
class CoordinateDomain:
    """Where one element may be."""

    domain: Any
    whole: Any

    def contains(self, x: PyTree) -> Any:
        return self.domain.contains(self.whole.with_element(x))


@pytree_dataclass
class CoordinateKernel:
    """The step of one element. Its energy is a `CoordinateEnergy`."""

    inner: Any
    whole: Any

    init_noise = None

    @property
    def step_noise(self) -> PyTree:
        return self.inner.step_noise

    @property
    def temperature(self) -> Any:
        return _first(self.inner, "temperature")

    @property
    def domain(self) -> CoordinateDomain:
        return CoordinateDomain(_first(self.inner, "domain"), self.whole)

    def init(self, energy: Any, position: PyTree, noise: Any) -> PositionState:
        return PositionState(position)

    def step(self, energy: Any, state: PositionState, noise: Any) -> tuple[PositionState, Info]:
        begun = self.inner.init(energy.energy, self.whole.with_element(state.position), None)
        made = self.whole.noise(self.step_noise, noise)
        moved, info = self.inner.step(energy.energy, begun, made)
        return PositionState(self.whole.element(moved.position)), info


def _first(kernel: Any, name: str, *otherwise: Any) -> Any:
    """The attribute of the outermost layer that has it."""
    for layer in layers(kernel):
        if hasattr(layer, name):
            return getattr(layer, name)
    if otherwise:
        return otherwise[0]
    raise AttributeError(name)


def coordinate(kernel: Kernel, energy: Energy, position: PyTree, index: int) -> Coordinate:
    """One coordinate of a chain whose coordinates move independently, as a chain in one dimension.

    With a separable energy, Σ_i E_i(x_i), a kernel that accepts every step and has no matrix that
    mixes coordinates moves each coordinate by its own value and its own noise. Whatever `exact` can
    say about chains in one dimension then holds for each coordinate: relaxation and hitting times,
    biases, laws. This is checked on the kernel's own step, at random positions and noises; as with
    affinity, probes can refute it but not prove it.

    Args:
        kernel: one whose state is only its position, and that accepts every step.
        energy: any energy or score.
        position: one position, at which the other coordinates are held.
        index: the coordinate's index in the raveled position.

    Returns:
        A `Coordinate` (kernel, energy, position), the arguments of `grid_stationary` and the
        functions like it.

    Raises:
        NoGridLawError: a coordinate's step depends on another, or the kernel accepts or rejects,
            which it does for all coordinates at once.
        TypeError, ValueError: arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> kernel, energy = jl.ula(0.05), jl.energies.double_well(dim=10)
        >>> chain = jl.exact.coordinate(kernel, energy, jnp.zeros(10), 3)
        >>> round(jl.exact.grid_relaxation_time(*chain), 1)
        22.8
    """
    check_separable(kernel, energy, position)
    size = trees.size(position)
    index = check_count("index", index, minimum=0)
    if index >= size:
        raise ValueError(f"index: the position has {size} coordinates, got {index}")
    return _coordinate(kernel, energy, position, index)


def coordinates(kernel: Kernel, energy: Energy, position: PyTree) -> list[Coordinate]:
    """All coordinates, in the order of the raveled position."""
    check_separable(kernel, energy, position)
    return [_coordinate(kernel, energy, position, i) for i in range(trees.size(position))]


def _coordinate(kernel: Kernel, energy: Energy, position: PyTree, index: int) -> Coordinate:
    position = trees.as_position("position", position, floating=True)
    whole = Whole(position, jnp.int32(index))
    made = CoordinateKernel(kernel, whole)
    return Coordinate(made, CoordinateEnergy(energy, whole), whole.element(position))


def check_separable(kernel: Kernel, energy: Energy, position: PyTree) -> None:
    """Raise NoGridLawError unless each coordinate moves independently, as far as can be seen."""
    position = as_grid_position("position", position)
    check_kernel(kernel, position)
    check_width(kernel=kernel, energy=energy, position=position)
    check_known("a grid is made on the host", kernel=kernel, energy=energy, position=position)
    check_energy(energy, position)
    if not np.isfinite(np.asarray(trees.ravel(position))).all():
        raise ValueError(f"position: expected a finite one, got {position}")
    name = type(kernel).__name__
    refuse_schedules(kernel)
    if jax.tree.leaves(kernel.init_noise):
        raise NoGridLawError(
            f"kernel: {name} starts with noise of its own, and so has more of a state than the "
            "position; a grid is for kernels whose state is only the position"
        )
    domain = _first(kernel, "domain", None)
    if domain is not None and not bool(domain.contains(position)):
        raise ValueError("position: it is outside of the kernel's domain; give one inside")
    wants = jax.tree.leaves(kernel.step_noise)
    if any(noise.kind_of_want(want) is not Want.NORMAL for want in wants):
        raise NoGridLawError(
            f"kernel: {name} accepts or rejects, or asks for a key, for all coordinates at once; "
            "a product of laws is for kernels that accept every step"
        )
    compare = _of_few if trees.size(position) <= _FEW else _of_many
    worst, looked = map(np.asarray, compare(Parted.of(kernel), Parted.of(energy), position))
    if not looked.all():
        raise ValueError(
            f"energy, kernel: the step of coordinate {int(np.argmin(looked))} is not finite at "
            "random positions around `position`, so nothing is seen of it; give a position inside "
            "the mass, and a step size that is stable there"
        )
    if worst.max() > 1:
        place = int(np.argmax(worst))
        raise NoGridLawError(
            f"energy, kernel: the step of coordinate {place} depends on other coordinates, so "
            f"{name} does not move each independently on this energy, and the law is not a product"
        )


def _dependence(of: Parted, on: Parted, position: PyTree) -> tuple[jax.Array, jax.Array]:
    """How much each coordinate's step changes if all others change, over what rounding may change.

    At most 1 if the coordinate moves independently. Also whether it made a finite step. The
    gradient is compared as well, since rounding of the position can hide a small step.
    """
    kernel, energy = of.whole, on.whole
    flat, place = trees.ravel(position), trees.unraveler(position)
    count, domain = len(jax.tree.leaves(kernel.step_noise)), _first(kernel, "domain", None)
    rounding, tiny = jnp.finfo(flat.dtype).eps, jnp.finfo(flat.dtype).tiny

    def step(x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = iter(z)
        made = jax.tree.map(lambda want: place(next(rows)), kernel.step_noise)
        state, _ = kernel.step(energy, kernel.init(energy, place(x), None), made)
        return trees.ravel(state.position), trees.ravel(gradient(energy, place(x)))

    def inside(x: jax.Array) -> jax.Array:
        return x if domain is None else trees.ravel(domain.project(place(x)))

    def compared(all_of_them: jax.Array, rounded: Any) -> tuple[jax.Array, jax.Array]:
        """Coordinate i of the first row against that of row i + 1, and whether both are finite."""
        alone, moved = all_of_them[0], jnp.diagonal(all_of_them[1:])
        finite, same = jnp.isfinite(alone), jnp.isfinite(alone) == jnp.isfinite(moved)
        ratio = jnp.abs(moved - alone) / (rounded(alone) + tiny)
        return jnp.where(finite & same, ratio, jnp.where(same, 0, jnp.inf)), finite & same

    def change(given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, size = given
        keys = jax.random.split(key, 4)
        normals = jax.vmap(jax.random.normal, in_axes=(0, None, None))
        x, other = map(inside, flat[None] + size * normals(keys[:2], flat.shape, flat.dtype))
        z, noise = normals(keys[2:], (count, *flat.shape), flat.dtype)
        own = jnp.concatenate([jnp.ones((1, len(flat)), bool), jnp.eye(len(flat), dtype=bool)])
        # One map over all rows, so that equal elements are rounded alike.
        moved, slopes = jax.vmap(step)(
            jnp.where(own, x, other), jnp.where(own[:, None], z[None], noise[None])
        )
        of_step, fine = compared(
            moved,
            lambda y: rounding * (256 * jnp.abs(y - x) + 16 * (jnp.abs(x) + jnp.abs(y))),
        )
        of_slope, _ = compared(slopes, lambda y: 256 * rounding * jnp.abs(y))
        return jnp.maximum(of_step, of_slope), fine

    keys = jax.random.split(jax.random.key(0), len(_SIZES))
    # A loop, as three copies of all this would take three times as long to compile.
    worst, fine = jax.lax.map(change, (keys, jnp.asarray(_SIZES, flat.dtype)))
    return jnp.max(worst, axis=0), jnp.any(fine, axis=0)


_of_few, _of_many = compiled(_dependence, quickly=True), compiled(_dependence)
