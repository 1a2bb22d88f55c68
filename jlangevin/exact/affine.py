"""The affine maps of a kernel's `init` and `step`, derived from its code."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_count, check_tree, check_width
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy, check_energy, gradient
from jlangevin.errors import (
    NotAffineError,
)
from jlangevin.kernels.base import Kernel, check_kernel, check_step, resolve_schedules
from jlangevin.noise import Want

__all__ = [
    "AffineMap",
    "ChainMaps",
    "affine_map",
    "derive_gradient",
    "derive_maps",
    "linearised",
    "nan_unless",
    "refuse_not_affine",
]


class AffineMap(NamedTuple):
    """z' = F z + c + w, w ~ N(0, Q), over the raveled state z."""

    matrix: jax.Array  # F, (n, n)
    offset: jax.Array  # c, (n,)
    cov: jax.Array  # Q = G Gᵀ, (n, n), where G is the derivative with respect to the noise


def affine_map(kernel: Kernel, energy: Energy, position: PyTree, step: int = 0) -> AffineMap:
    """One step of `kernel` as an affine map of its whole state.

    Args:
        kernel: any kernel whose only noise is normals.
        energy: an energy on which its step is affine: quadratic or linear.
        position: one position, for structure, shapes and dtypes; its values are not used.
        step: the step at which schedules are evaluated, counted from 0.

    Returns:
        An `AffineMap` over the kernel's state in `ravel_pytree` order.

    Raises:
        NotAffineError: the step is not affine, or uses noise other than normals.
        TypeError, ValueError: the position is not floating, or the step is not a count.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(2.0 * jnp.eye(1))
        >>> round(float(jl.exact.affine_map(jl.ula(0.1), energy, jnp.zeros(1)).matrix[0, 0]), 6)
        0.8
    """
    if trees.is_concrete(step):
        step = check_count("step", step, minimum=0)
    return linearised(kernel, energy, position, step).step


# Positions may have any unit. The derivative is taken at 0, so a map that bends below the least of
# these sizes is found too; one that bends only above the greatest is not.
_PROBE_SIZES = (1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e6, 1e9, 1e12)


_PROBE_DIRECTIONS = 4  # and their opposites


class ChainMaps(NamedTuple):
    """A kernel's chain on an energy as affine maps, derived from the kernel's code."""

    init: AffineMap  # from a position to the first state
    step: AffineMap  # from a state to the next
    state: PyTree  # one state, as shapes and dtypes
    position: PyTree  # one position, likewise


def linearised(kernel: Kernel, energy: Energy, position: PyTree, step: int = 0) -> ChainMaps:
    check_tree("position", position)
    position = trees.as_position("position", position, floating=True)
    check_kernel(kernel, position)
    check_width(kernel=kernel, energy=energy, position=position)
    like, zeros = trees.struct(position), trees.zeros(position)
    parts = Parted.of(kernel), Parted.of(energy)
    init, moved, quadratic, affine = derive_maps(*parts, zeros, jnp.int32(step))
    refuse_not_affine(quadratic, affine, type(kernel).__name__)
    state = jax.eval_shape(
        lambda x, t: resolve_schedules(kernel, t).init(
            energy, x, _zero_noise(kernel.init_noise, x)
        ),
        zeros,
        jnp.int32(step),
    )
    return nan_unless(ChainMaps(init, moved, state, like), quadratic, affine)


@partial(compiled, quickly=True)
def derive_maps(
    kernel_parts: Parted, energy_parts: Parted, zeros: PyTree, step: jax.Array
) -> tuple[AffineMap, AffineMap, jax.Array, jax.Array]:
    """The maps of `init` and `step`, and whether the energy's gradient and both maps are affine."""
    energy = energy_parts.whole
    check_energy(energy, zeros)
    kernel = resolve_schedules(kernel_parts.whole, step)
    check_step(kernel, energy, zeros)
    init_noise = _zero_noise(kernel.init_noise, zeros)
    step_noise = _zero_noise(kernel.step_noise, zeros)
    state = kernel.init(energy, zeros, init_noise)
    for leaf in jax.tree.leaves(state):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise NotAffineError(f"kernel: its state has a leaf of dtype {leaf.dtype}")

    def from_position(x: PyTree, z: PyTree) -> PyTree:
        return kernel.init(energy, x, z)

    def from_state(state: PyTree, z: PyTree) -> PyTree:
        return kernel.step(energy, state, z)[0]

    init, init_is_affine = _derive(from_position, zeros, init_noise)
    moved, step_is_affine = _derive(from_state, state, step_noise)
    _, quadratic = derive_gradient(energy, zeros)
    return init, moved, quadratic, init_is_affine & step_is_affine


def _derive(
    function: Callable[[PyTree, PyTree], PyTree], at: PyTree, noise: PyTree, *, each: bool = False
) -> tuple[AffineMap, jax.Array]:
    """`function` as an affine map, and whether it is affine.

    A deviation counts if it exceeds rounding. If `each`, the bound on rounding is that of each
    entry, else that of the largest: a step forms differences, with the rounding of their terms.
    """
    zero, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, at))
    no_noise, unravel_noise = ravel_pytree(noise)
    no_noise = no_noise.astype(zero.dtype)

    def flat(z: jax.Array, xi: jax.Array) -> jax.Array:
        return trees.ravel(function(unravel(z), unravel_noise(xi)))

    offset = flat(zero, no_noise)
    matrix, scatter = jax.jacfwd(flat, argnums=(0, 1))(zero, no_noise)
    good = jnp.all(jnp.isfinite(offset)) & jnp.all(jnp.isfinite(matrix))
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(at))
    rounding = 30 * eps * max(zero.size, 1)
    if each:
        root = jnp.sqrt(jnp.abs(jnp.diagonal(matrix)))
        shift = jnp.where(root > 0, jnp.abs(offset) / jnp.where(root > 0, root, 1), 0)

    def fits(z: jax.Array, xi: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Whether the map is affine at this probe, and whether the probe shows anything."""
        expected = product(matrix, z) + offset + product(scatter, xi)
        terms = product(jnp.abs(matrix), jnp.abs(z)) + jnp.abs(offset)
        terms += product(jnp.abs(scatter), jnp.abs(xi))
        if each:
            # A may be a sum of squares whose terms cancel; |A_ij|² ≤ A_ii A_jj bounds them.
            terms += root * (product(root, jnp.abs(z)) + jnp.max(shift, initial=0.0))
        else:
            terms = jnp.full_like(terms, jnp.max(terms, initial=0.0))
        found = flat(z, xi)
        overflows = jnp.any(jnp.isinf(found)) | ~jnp.all(jnp.isfinite(terms))
        return jnp.all(jnp.abs(found - expected) <= rounding * terms) | overflows, ~overflows

    fine, seen = jax.vmap(fits)(_probes(zero, 0.3), _probes(no_noise, 0.7))
    good &= jnp.all(fine) & jnp.any(seen)
    return AffineMap(matrix, offset, product(scatter, scatter.T)), good


def derive_gradient(energy: Energy, zeros: PyTree) -> tuple[AffineMap, jax.Array]:
    """∇E(x) = A x + b as an affine map, and whether it is affine."""
    return _derive(lambda x, _: gradient(energy, x), zeros, None, each=True)


def _probes(like: jax.Array, phase: float) -> jax.Array:
    """Fixed vectors of many sizes, in several directions and their opposites: (probe, element).

    Their entries are cosines of the golden ratio's multiples, which have both signs and no pattern.
    """
    golden = (np.sqrt(5) - 1) / 2
    index = np.arange(1, _PROBE_DIRECTIONS * like.size + 1).reshape(_PROBE_DIRECTIONS, like.size)
    directions = np.cos(2 * np.pi * (golden * index + phase))
    both = np.concatenate([directions, -directions])
    probes = np.concatenate([size * both for size in _PROBE_SIZES])
    return jnp.asarray(probes, like.dtype)


def _zero_noise(wants: PyTree, like: PyTree) -> PyTree:
    for want in jax.tree.leaves(wants):
        if (kind := noise.kind_of_want(want)) is not Want.NORMAL:
            raise NotAffineError(
                f"kernel: it asks for {kind}, not only for normals, so its step is not affine in "
                "Gaussian noise and the law after it is not Gaussian; verify.invariance tests "
                "whether such a kernel keeps its stationary law"
            )
    return trees.zeros(noise.shapes(wants, like))


def refuse_not_affine(quadratic: jax.Array, affine: jax.Array, name: str = "it") -> None:
    if not trees.is_concrete(quadratic, affine):
        return
    if not bool(quadratic):
        raise NotAffineError(
            "energy: its gradient is not affine (or not finite at 0), so a chain on it has no "
            "Gaussian law; exact laws are for quadratic and linear energies. If the energy is one, "
            "and a GPU rounds its products, call this under "
            'jax.default_matmul_precision("highest")'
        )
    if not bool(affine):
        raise NotAffineError(
            "kernel: its step is not affine in state and noise on this energy, or not finite: "
            f"{name} has walls, tames the gradient, keeps a velocity's length, or has numbers out "
            "of range; exact laws are for kernels such as jlangevin.ula, and verify.invariance "
            "tests the other kernels"
        )


def nan_unless(maps: ChainMaps, *good: jax.Array) -> ChainMaps:
    """`maps`, or NaN unless all of `good`, for traced values, which cannot raise an error."""
    if trees.is_concrete(good):  # an error would have been raised
        return maps
    all_good = reduce(operator.and_, good)
    step = AffineMap(*(jnp.where(all_good, leaf, jnp.nan) for leaf in maps.step))
    return maps._replace(step=step)
