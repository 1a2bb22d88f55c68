"""The law of an affine chain: after a number of steps, after each, and after infinitely many."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_count, check_flag
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.distribution import Gaussian, check_gaussian, unchecked_gaussian
from jlangevin.energies.base import Energy
from jlangevin.errors import (
    NoStationaryLawError,
    NotAffineError,
    UnstableStepError,
)
from jlangevin.exact.affine import AffineMap, ChainMaps, derive_maps, linearised, nan_unless
from jlangevin.exact.per_chain import per_chain
from jlangevin.kernels.base import Kernel, has_schedule
from jlangevin.noise import MAX_STEPS

__all__ = ["law", "stationary", "trajectory"]


@per_chain
def law(
    kernel: Kernel,
    energy: Energy,
    start: Gaussian,
    num_steps: int,
    *,
    full: bool = False,
    allow_unstable: bool = False,
) -> Gaussian:
    """The exact law of the chain after `num_steps` steps from `start`.

    Without schedules the steps are composed by doubling, (F, c, Q)∘(F, c, Q) =
    (F², F c + c, F Q Fᵀ + Q): O(log num_steps), so 10⁹ steps are instant. With schedules it takes
    one composition per step.

    Args:
        kernel, energy: as for `affine_map`.
        start: the law of the first position.
        num_steps: N ≥ 0.
        full: whether to return the law of the kernel's whole state instead of the position's.
        allow_unstable: whether to return the law of a chain that grows without bound, as far as
            floats can represent it.

    Returns:
        A `Gaussian` over the position (a pytree like it), or over the state if `full`.

    Raises:
        NotAffineError: see `affine_map`.
        UnstableStepError: the step size is beyond the stability limit: the step's map has a
            spectral radius above 1. Kernels with schedules are not checked for it.
        TypeError: `start` is not a `Gaussian`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> law = jl.exact.law(jl.ula(0.01), jl.energies.linear([1.0, 0.5]), start, 100)
        >>> [round(float(v), 4) for v in (*law.mean, law.cov[0, 0])]
        [-1.0, -0.5, 3.0]
    """
    num_steps = check_count("num_steps", num_steps, minimum=0)
    full, allow_unstable = check_flag("full", full), check_flag("allow_unstable", allow_unstable)
    check_gaussian_start(start)
    if has_schedule(kernel):
        return _step_by_step(kernel, energy, start, num_steps, full=full, keep=False)
    maps = linearised(kernel, energy, start.mean)
    if not allow_unstable:
        maps, _ = _refuse_unstable(maps)
    return _by_doubling(maps, start, num_steps, full)


@per_chain
def trajectory(
    kernel: Kernel, energy: Energy, start: Gaussian, num_steps: int, *, full: bool = False
) -> Gaussian:
    """The exact law after each of 0, 1, …, `num_steps` steps.

    Args:
        kernel, energy, start, full: as for `law`.
        num_steps: N ≥ 0.

    Returns:
        A `Gaussian` with a leading axis of N + 1 in each leaf;
        `jax.tree.map(lambda leaf: leaf[k], result)` is the law after k steps.

    Raises:
        NotAffineError, TypeError: as `law`. An unstable chain is not refused; its law is returned
            as far as floats can represent it.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> jl.exact.trajectory(jl.ula(0.1), jl.energies.linear([1.0]), start, 5).mean.shape
        (6, 1)
    """
    num_steps, full = check_count("num_steps", num_steps, minimum=0), check_flag("full", full)
    if num_steps > MAX_STEPS:
        raise ValueError(
            f"num_steps: expected at most {MAX_STEPS}, as the law of every step is kept, got "
            f"{num_steps}; exact.law returns only the law after the last step"
        )
    check_gaussian_start(start)
    return _step_by_step(kernel, energy, start, num_steps, full=full, keep=True)


@per_chain
def stationary(kernel: Kernel, energy: Energy, position: PyTree, *, full: bool = False) -> Gaussian:
    """The law that the chain tends to: m = F m + c, S = F S Fᵀ + Q.

    Args:
        kernel, energy, position, full: as for `affine_map` and `law`.

    Raises:
        NotAffineError: see `affine_map`.
        UnstableStepError: the map's spectral radius is above 1.
        NoStationaryLawError: it is 1 (a linear or flat direction of the energy), so the chain
            never settles; or the kernel has a schedule.
        TypeError: the position is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.stationary(jl.ula(1.0), jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
        >>> round(float(law.cov[0, 0]), 6)
        2.0
    """
    full = check_flag("full", full)
    if has_schedule(kernel):
        raise NoStationaryLawError(
            "kernel: a step that changes with time has no stationary law; use exact.law after a "
            "number of steps"
        )
    maps, growth = _refuse_unstable(linearised(kernel, energy, position))
    if trees.is_concrete(growth) and not bool(growth.settles):
        raise NoStationaryLawError(
            f"energy: the step's map has spectral radius {float(growth.radius):.9g}, so the chain "
            "never settles: the energy is linear or flat in some direction (exp(-E) has no finite "
            f"integral), or ηλ is too small for {growth.radius.dtype}. Use exact.law after a "
            "number of steps, or enable x64"
        )
    maps = nan_unless(maps, growth.settles)
    # Any start will do: after this many steps, every chain whose spectral radius float64 can
    # distinguish from 1 has settled.
    zero = trees.zeros(maps.position)
    size = trees.size(zero)
    anywhere = unchecked_gaussian(zero, jnp.zeros((size, size), trees.float_dtype(zero)))
    return _by_doubling(maps, anywhere, 2 ** (_DIGITS - 1), full)


_Law = tuple[jax.Array, jax.Array]  # mean and covariance over the raveled state

_DIGITS = 64  # binary digits of a number of steps


def _refuse_unstable(maps: ChainMaps) -> tuple[ChainMaps, _Stability]:
    growth = _growth(maps.step.matrix)
    if trees.is_concrete(growth) and not bool(growth.stable):
        raise UnstableStepError(
            f"step_size: the step's map has spectral radius {float(growth.radius):.6g}, so the "
            "chain grows without bound. Either the step is beyond the stability limit (ULA needs "
            "step_size < 2/λ_max of PA; see adaptation.step_size_for), or the energy has no "
            "minimum. With allow_unstable=True, exact.law returns the law nevertheless"
        )
    return nan_unless(maps, growth.stable), growth


class _Stability(NamedTuple):
    """The spectral radius of a step's map, whether it is at most 1, and whether it is below 1."""

    radius: jax.Array
    stable: jax.Array
    settles: jax.Array


@partial(compiled, quickly=True)
def _growth(matrix: jax.Array) -> _Stability:
    radius = _spectral_radius(lax.stop_gradient(matrix))
    # The rounding error of a computed spectral radius near 1.
    rounding = 10 * float(jnp.finfo(matrix.dtype).eps) * max(len(matrix), 1)
    return _Stability(radius, radius <= 1 + rounding, radius < 1 - rounding)


def _spectral_radius(matrix: jax.Array) -> jax.Array:
    """max |eigenvalue| = lim |F^n|^(1/n), n = 2, 4, 8, … (Gelfand), without an eigensolver."""

    def normalized(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        norm = jnp.sqrt(jnp.sum(m * m))
        return m / jnp.where(norm > 0, norm, 1), jnp.log(norm)

    def square(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        m, log_radius = carry
        m, log_norm = normalized(product(m, m))
        return m, log_radius + log_norm * jnp.exp2(-(k + 1).astype(m.dtype))

    _, log_radius = lax.fori_loop(0, 60, square, normalized(matrix))
    return jnp.exp(log_radius)


def _by_doubling(maps: ChainMaps, start: Gaussian, num_steps: int, full: bool) -> Gaussian:
    """The law after `num_steps` equal steps."""
    number = f"{num_steps:b}"
    # The same length for most numbers, so that one program serves them.
    digits = number.zfill(-(-len(number) // _DIGITS) * _DIGITS)
    bits = np.array([bit == "1" for bit in digits])
    return _composed(maps.init, maps.step, start, bits, Parted.of(maps.state), full=full)


@partial(compiled, static_argnames=("full",), quickly=True)
def _composed(
    init: AffineMap,
    step: AffineMap,
    start: Gaussian,
    bits: PyTree,
    state: Parted,
    *,
    full: bool,
) -> Gaussian:
    law = pushforward(_power(step, bits), *pushforward(init, *_raveled(start)))
    return marginal(state, *law, full)


def _power(step: AffineMap, bits: jax.Array) -> AffineMap:
    """`step` to the power of the binary number `bits`, most significant bit first."""
    zero = jnp.zeros_like(step.offset)
    identity = AffineMap(jnp.eye(len(zero), dtype=zero.dtype), zero, jnp.zeros_like(step.cov))

    def digit(
        carry: tuple[AffineMap, jax.Array], bit: jax.Array
    ) -> tuple[tuple[AffineMap, jax.Array], None]:
        power, begun = carry
        twice = lax.cond(begun, lambda p: compose(p, p), lambda p: p, power)
        return (lax.cond(bit, lambda p: compose(p, step), lambda p: p, twice), begun | bit), None

    (power, _), _ = lax.scan(digit, (identity, jnp.array(False)), bits)
    return power


def compose(first: AffineMap, second: AffineMap) -> AffineMap:
    mean, cov = pushforward(second, first.offset, first.cov)
    return AffineMap(product(second.matrix, first.matrix), mean, cov)


def pushforward(move: AffineMap, mean: jax.Array, cov: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The image of N(mean, cov) under the affine map `move`."""
    moved = product(move.matrix, cov, move.matrix.T) + move.cov
    return product(move.matrix, mean) + move.offset, (moved + moved.T) / 2


def _step_by_step(
    kernel: Kernel, energy: Energy, start: Gaussian, num_steps: int, *, full: bool, keep: bool
) -> Gaussian:
    """The law after `num_steps` steps; if `keep`, the laws after each of 0 … `num_steps`."""
    maps = linearised(kernel, energy, start.mean)
    law, first_bad = _scan_steps(
        Parted.of(kernel),
        Parted.of(energy),
        Parted.of(maps.state),
        maps.init,
        maps.step,
        start,
        num_steps=num_steps,
        full=full,
        keep=keep,
    )
    if trees.is_concrete(first_bad) and int(first_bad) < num_steps:
        raise NotAffineError(
            f"kernel: at step {int(first_bad)} of its schedules the step is not affine or not "
            "finite; step_size and temperature must be finite and zero or above at every step"
        )
    return law


@partial(compiled, static_argnames=("num_steps", "full", "keep"))
def _scan_steps(
    kernel_parts: Parted,
    energy_parts: Parted,
    state: Parted,
    init: AffineMap,
    constant: AffineMap,
    start: Gaussian,
    *,
    num_steps: int,
    full: bool,
    keep: bool,
) -> tuple[Gaussian, jax.Array]:
    """The law after `num_steps` steps from `start`, and the first step that is not affine.

    That number is `num_steps` if all steps are affine; otherwise the law is NaN from there on. If
    nothing is scheduled, every step is `constant`.
    """
    scheduled = has_schedule(kernel_parts.whole)
    zeros = trees.zeros(start.mean)

    def one_step(
        carry: tuple[_Law, jax.Array], t: jax.Array
    ) -> tuple[tuple[_Law, jax.Array], _Law | None]:
        law, first_bad = carry
        move = constant
        if scheduled:
            _, move, _, affine = derive_maps(kernel_parts, energy_parts, zeros, t)
            move = AffineMap(*(jnp.where(affine, leaf, jnp.nan) for leaf in move))
            first_bad = jnp.where(affine, first_bad, jnp.minimum(first_bad, t))
        law = pushforward(move, *law)
        return (law, first_bad), law if keep else None

    first = pushforward(init, *_raveled(start))
    steps = jnp.arange(num_steps, dtype=jnp.int32)
    (last, first_bad), later = lax.scan(one_step, (first, jnp.int32(num_steps)), steps)
    if not keep:
        return marginal(state, *last, full), first_bad
    each = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    return jax.vmap(lambda mean, cov: marginal(state, mean, cov, full))(*each), first_bad


def _raveled(start: Gaussian) -> tuple[jax.Array, jax.Array]:
    return trees.ravel(start.mean), start.cov


def marginal(state: Parted, mean: jax.Array, cov: jax.Array, full: bool) -> Gaussian:
    """The law over the state, or its marginal over the position."""
    unravel = trees.unraveler(state.whole)
    if full:
        return unchecked_gaussian(unravel(mean), cov)
    select = jax.jacfwd(lambda z: trees.ravel(unravel(z).position))(mean)
    return unchecked_gaussian(unravel(mean).position, product(select, cov, select.T))


def check_gaussian_start(start: Gaussian) -> None:
    check_gaussian(
        "start",
        start,
        "for chains that all start at one point x, pass Gaussian(x, zeros); for the law of a "
        "quadratic energy, exact.target(energy, position)",
    )
    start.check_single("start")
