"""Exact laws of affine chains, derived from the code that runs.

If a kernel's step is affine in state and noise, z' = F z + c + G ξ, a Gaussian start stays
Gaussian: m' = F m + c and S' = F S Fᵀ + G Gᵀ. F and G come out of `kernel.step` by
`jax.jacfwd`, over the whole state; what is shown is the position's marginal unless `full` is set.

That the step *is* affine is checked, at probes of many sizes and directions; no finite number of
them can prove it, and an energy that departs from a quadratic only in between is not found out.
Outside of `jit` a step that isn't affine raises `NotAffineError`. Where values are traced nothing
can be raised, and the law is NaN instead.

Precision is that of the position's dtype. Where ηλ is small, F = I - ηA loses digits to the 1:
the law's relative error is about eps / (ηλ). Enable x64 for laws to be relied on to many digits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jlangevin import noise, trees
from jlangevin._arithmetic import product, root
from jlangevin._checks import check_count, check_flag, check_scalar, check_tree, check_width
from jlangevin.compiling import compiled
from jlangevin.distribution import Gaussian, check_gaussian
from jlangevin.errors import (
    NoEnergyError,
    NoStationaryLawError,
    NotAffineError,
    NotNormalizableError,
    UnstableStepError,
)
from jlangevin.kernels.base import (
    Energy,
    Kernel,
    at_step,
    check_energy,
    check_kernel,
    check_step,
    gradient,
    has_schedule,
)
from jlangevin.kernels.preconditioner import as_preconditioner
from jlangevin.noise import MAX_STEPS, Want
from jlangevin.scores import GivenGradient
from jlangevin.trees import Parted, PyTree

__all__ = [
    "AffineMap",
    "affine_map",
    "kl",
    "law",
    "stationary",
    "step_size_for",
    "target",
    "trajectory",
    "wasserstein2",
]


class AffineMap(NamedTuple):
    """z' = F z + c + w, w ~ N(0, Q), over the raveled state z."""

    matrix: jax.Array  # F, (n, n)
    offset: jax.Array  # c, (n,)
    cov: jax.Array  # Q = G Gᵀ, (n, n), where G is the derivative by the noise


def affine_map(kernel: Kernel, energy: Energy, position: PyTree, step: int = 0) -> AffineMap:
    """The affine map that one step of `kernel` is, over its whole state.

    Args:
        kernel: any kernel that asks for normals alone.
        energy: an energy on which its step is affine: quadratic or linear.
        position: one position, for structure, shapes and dtypes; its values are not used.
        step: where in its schedules the kernel stands, counted from 0.

    Returns:
        An `AffineMap` over the kernel's state in `ravel_pytree` order.

    Raises:
        NotAffineError: the step is not affine, or wants noise other than normals.
        TypeError, ValueError: a position that is not floating; a step that is no count.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(2.0 * jnp.eye(1))
        >>> round(float(jl.exact.affine_map(jl.ula(0.1), energy, jnp.zeros(1)).matrix[0, 0]), 6)
        0.8
    """
    if trees.is_concrete(step):
        step = check_count("step", step, minimum=0)
    return _facts(kernel, energy, position, step).step


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
    (F², F c + c, F Q Fᵀ + Q): O(log num_steps), so 10⁹ steps are instant. With schedules it is
    one composition a step.

    Args:
        kernel, energy: as for `affine_map`.
        start: the law of the first position.
        num_steps: N ≥ 0.
        full: the law of the kernel's whole state instead of the position's.
        allow_unstable: give the law of a chain that grows without bound, too, as far as it is
            within the range of floats.

    Returns:
        A `Gaussian` over the position (a pytree like it), or over the state if `full`.

    Raises:
        NotAffineError: see `affine_map`.
        UnstableStepError: the step size is beyond the stability limit: the step's map has a
            spectral radius above 1. Not looked for in kernels with schedules.
        TypeError: `start` is no `Gaussian`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> law = jl.exact.law(jl.ula(0.01), jl.energies.linear([1.0, 0.5]), start, 100)
        >>> [round(float(v), 4) for v in (*law.mean, law.cov[0, 0])]
        [-1.0, -0.5, 3.0]
    """
    num_steps = check_count("num_steps", num_steps, minimum=0)
    full, allow_unstable = check_flag("full", full), check_flag("allow_unstable", allow_unstable)
    _check_start(start)
    if has_schedule(kernel):
        return _step_by_step(kernel, energy, start, num_steps, full=full, keep=False)
    facts = _facts(kernel, energy, start.mean)
    if not allow_unstable:
        facts, _ = _refuse_unstable(facts)
    return _by_doubling(facts, start, num_steps, full)


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
        NotAffineError, TypeError: as `law`. An unstable chain's law is given too, as far as it is
            within the range of floats.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> jl.exact.trajectory(jl.ula(0.1), jl.energies.linear([1.0]), start, 5).mean.shape
        (6, 1)
    """
    num_steps, full = check_count("num_steps", num_steps, minimum=0), check_flag("full", full)
    if num_steps > MAX_STEPS:
        raise ValueError(
            f"num_steps: a law for every step is kept, at most {MAX_STEPS}, got {num_steps}; "
            "exact.law gives that after the last step alone"
        )
    _check_start(start)
    return _step_by_step(kernel, energy, start, num_steps, full=full, keep=True)


def stationary(kernel: Kernel, energy: Energy, position: PyTree, *, full: bool = False) -> Gaussian:
    """The law that the chain tends to: m = F m + c, S = F S Fᵀ + Q.

    Args:
        kernel, energy, position, full: as for `affine_map` and `law`.

    Raises:
        NotAffineError: see `affine_map`.
        UnstableStepError: the map's spectral radius is above 1.
        NoStationaryLawError: it is 1 (a linear or flat direction of the energy), so the chain
            wanders off for ever; or the kernel has a schedule.
        TypeError: a position that is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.stationary(jl.ula(1.0), jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
        >>> round(float(law.cov[0, 0]), 6)
        2.0
    """
    full = check_flag("full", full)
    if has_schedule(kernel):
        raise NoStationaryLawError(
            "kernel: a step that changes with time has no stationary law; "
            "ask for exact.law after a number of steps"
        )
    facts, growth = _refuse_unstable(_facts(kernel, energy, position))
    if trees.is_concrete(growth) and not bool(growth.settles):
        raise NoStationaryLawError(
            f"energy: the step's map has spectral radius {float(growth.radius):.9g}, so the chain "
            "never settles: the energy is linear or flat in some direction (exp(-E) has no finite "
            f"integral), or ηλ is too small for {growth.radius.dtype} to tell. Ask for exact.law "
            "after a number of steps, or enable x64"
        )
    facts = _poison(facts, growth.settles)
    # From anywhere: whatever has a spectral radius that float64 can tell from 1 has settled.
    zero = trees.zeros(facts.position)
    size = trees.size(zero)
    anywhere = _gaussian(zero, jnp.zeros((size, size), trees.float_dtype(zero)))
    return _by_doubling(facts, anywhere, 2 ** (_DIGITS - 1), full)


def target(energy: Energy, position: PyTree, temperature: Any = 1.0) -> Gaussian:
    """The law p ∝ exp(-E/T) itself, of a quadratic energy: N(-A⁻¹ b, T A⁻¹).

    Args:
        energy: a quadratic energy, A = ∇²E, b = ∇E(0).
        position: one position, for structure, shapes and dtypes.
        temperature: T > 0.

    Raises:
        NotAffineError: the gradient is not affine, so p is no Gaussian.
        NoEnergyError: the energy is a score that is no gradient.
        NotNormalizableError: A has an eigenvalue that is not positive.
        TypeError: a position that is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(4.0 * jnp.eye(1))
        >>> float(jl.exact.target(energy, jnp.zeros(1), temperature=2.0).cov[0, 0])
        0.5
    """
    temperature = check_scalar("temperature", temperature, positive=True)
    position = trees.as_position("position", position, floating=True)
    hessian, slope = _quadratic(energy, position)
    values = jnp.linalg.eigvalsh(hessian)
    if trees.is_concrete(values):
        smallest, largest = float(values[0]), float(values[-1])
        if smallest <= 10 * float(jnp.finfo(values.dtype).eps) * len(values) * max(largest, 0.0):
            raise NotNormalizableError(
                f"energy: its Hessian has the eigenvalue {smallest:.3g}, which is not above zero, "
                "so exp(-E/T) has no finite integral; exact.law gives the law after a number of "
                "steps, which exists"
            )
    lower = jnp.linalg.cholesky(hessian)
    mean = -jax.scipy.linalg.cho_solve((lower, True), slope)
    cov = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(len(slope), dtype=slope.dtype))
    cov = jnp.asarray(temperature, cov.dtype) * cov
    return _gaussian(trees.unraveler(position)(mean), cov)


def step_size_for(
    energy: Energy, position: PyTree, *, bias: Any, preconditioner: Any = None
) -> jax.Array:
    """The largest step of `ula` whose stationary variance is within a relative `bias` everywhere.

    ULA's stationary variance along an eigenvalue λ of A (of L^T A L with a preconditioner
    P = L Lᵀ) is T/λ · 1/(1 - ηλ/2), so a relative bias δ is reached at η = 2δ / ((1 + δ) λ_max).

    Args:
        energy, position: as for `target`.
        bias: δ > 0; 0.01 for one percent.
        preconditioner: as in `ula`.

    Raises:
        NotAffineError: the energy is not quadratic.
        NoEnergyError: as `target`.
        NotNormalizableError: no direction of it is confined.
        TypeError: a position that is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
        >>> eta = jl.exact.step_size_for(energy, jnp.zeros(2), bias=0.25)
        >>> law = jl.exact.stationary(jl.ula(eta), energy, jnp.zeros(2))
        >>> round(float(law.cov[1, 1]), 4)  # the target's variance is 0.25
        0.3125
    """
    bias = check_scalar("bias", bias, positive=True)
    position = trees.as_position("position", position, floating=True)
    hessian, _ = _quadratic(energy, position)
    shape = as_preconditioner(preconditioner)
    if shape is not None:
        unravel = trees.unraveler(position)
        columns = jax.vmap(lambda column: trees.ravel(shape.factor(unravel(column))))
        lower = columns(jnp.eye(len(hessian), dtype=hessian.dtype)).T
        hessian = product(lower.T, hessian, lower)
    largest = jnp.linalg.eigvalsh(hessian)[-1]
    if trees.is_concrete(largest) and float(largest) <= 0:
        raise NotNormalizableError(
            f"energy: the largest eigenvalue of its Hessian is {float(largest):.3g}; no step size "
            "gives a stationary law; exact.law gives the law after a number of "
            "steps"
        )
    delta = jnp.asarray(bias, hessian.dtype)
    return jnp.where(largest > 0, 2 * delta / ((1 + delta) * largest), jnp.nan)


# Distances ----------------------------------------------------------------------------------


def wasserstein2(p: Gaussian, q: Gaussian) -> jax.Array:
    """The 2-Wasserstein distance between two Gaussians (Gelbrich 1990), not squared.

        W² = |m_p - m_q|² + min_U |S_p^{1/2} - S_q^{1/2} U|²_F    over orthogonal U

    which equals the usual tr(S_p + S_q - 2 (S_p^{1/2} S_q S_p^{1/2})^{1/2}) but loses no digits
    where p and q are close. Singular covariances are allowed; the derivative needs regular ones,
    and is taken as 0 where p = q.

    Args:
        p, q: two laws over positions alike; `jax.vmap` it over trajectories of laws.

    Raises:
        TypeError: p or q is no `Gaussian`.
        ValueError: p and q are over different positions, or one is a whole trajectory.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> p = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> float(jl.exact.wasserstein2(p, jl.Gaussian(3 * jnp.ones(1), 25 * jnp.eye(1))))
        5.0
    """
    m, n = _pair(p, q)
    shapes = _bures(p.cov, q.cov)
    # What is no more than the rounding of the two roots is no distance.
    rounding = 4 * jnp.finfo(m.dtype).eps * len(m)
    alike = shapes <= rounding**2 * (jnp.trace(p.cov) + jnp.trace(q.cov))
    return root(jnp.sum((m - n) ** 2) + jnp.where(alike, 0, shapes))


def kl(p: Gaussian, q: Gaussian) -> jax.Array:
    """The Kullback-Leibler divergence KL(p || q) in nats, of Gaussians with regular covariances.

        ½ (tr(S_q⁻¹ S_p) - d + (m_p - m_q)ᵀ S_q⁻¹ (m_p - m_q) + log det S_q - log det S_p)

    NaN if a covariance is singular.

    Args:
        p, q: two laws over positions alike; `jax.vmap` it over trajectories of laws.

    Raises:
        TypeError: p or q is no `Gaussian`.
        ValueError: p and q are over different positions, or one is a whole trajectory.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> p = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> float(jl.exact.kl(p, jl.Gaussian(jnp.ones(1), jnp.eye(1))))
        0.5
    """
    m, n = _pair(p, q)
    lower_p, lower_q = jnp.linalg.cholesky(p.cov), jnp.linalg.cholesky(q.cov)
    ratio = jax.scipy.linalg.solve_triangular(lower_q, lower_p, lower=True)
    shift = jax.scipy.linalg.solve_triangular(lower_q, m - n, lower=True)
    # x - 1 - log x of each squared diagonal entry, and the rest: no large terms cancel.
    diagonal = jnp.diagonal(ratio)
    off = jnp.sum(jnp.tril(ratio, -1) ** 2)
    excess = jnp.sum((diagonal - 1) * (diagonal + 1) - 2 * jnp.log(diagonal))
    return 0.5 * (excess + off + jnp.sum(shift**2))


@jax.custom_jvp
def _bures(s: jax.Array, t: jax.Array) -> jax.Array:
    a, b = _matrix_root(s), _matrix_root(t)
    left, _, right = jnp.linalg.svd(product(b.T, a))
    return jnp.sum((a - product(b, product(left, right))) ** 2)


@_bures.defjvp
def _bures_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # d = tr((I - M) ds) + tr((I - M⁻¹) dt), M the optimal map's matrix, M s M = t.
    (s, t), (ds, dt) = primals, tangents
    half = _matrix_root(s)
    middle = _matrix_root(product(half, t, half))
    inverse = jnp.linalg.inv(half)
    optimal = product(inverse, middle, inverse)
    eye = jnp.eye(len(s), dtype=s.dtype)
    tangent = jnp.sum((eye - optimal) * ds) + jnp.sum((eye - jnp.linalg.inv(optimal)) * dt)
    return _bures(s, t), tangent


def _matrix_root(s: jax.Array) -> jax.Array:
    """The symmetric positive semi-definite square root."""
    values, vectors = jnp.linalg.eigh(s)
    return product(vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :], vectors.T)


def _pair(p: Any, q: Any) -> tuple[jax.Array, jax.Array]:
    for name, law in (("p", p), ("q", q)):
        check_gaussian(name, law)
        law.check_single(name)
    trees.assert_like("q", q.mean, p.mean, "like the mean of p")
    return trees.ravel(p.mean), trees.ravel(q.mean)


# Linearisation ------------------------------------------------------------------------------

# Positions may be measured in any unit. What bends within the least of these is seen from it, as
# the derivative is taken at 0; what bends beyond the greatest is not seen.
_PROBE_SIZES = (1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e6, 1e9, 1e12)
_PROBE_DIRECTIONS = 4  # and their opposites
_DIGITS = 64  # of a number of steps


class _Facts(NamedTuple):
    """What a kernel's code says of its chain on an energy."""

    init: AffineMap  # from a position to the first state
    step: AffineMap  # from a state to the next
    state: Any  # one state, as shapes and dtypes
    position: Any  # one position, likewise


def _facts(kernel: Kernel, energy: Energy, position: PyTree, step: int = 0) -> _Facts:
    check_tree("position", position)
    position = trees.as_position("position", position, floating=True)
    check_kernel(kernel, position)
    check_width(kernel=kernel, energy=energy, position=position)
    like, zeros = trees.struct(position), trees.zeros(position)
    parts = Parted.of(kernel), Parted.of(energy)
    init, moved, quadratic, affine = _linearize(*parts, zeros, jnp.int32(step))
    _refuse_not_affine(quadratic, affine, type(kernel).__name__)
    state = jax.eval_shape(
        lambda x, t: at_step(kernel, t).init(energy, x, _zero_noise(kernel.init_noise, x)),
        zeros,
        jnp.int32(step),
    )
    return _poison(_Facts(init, moved, state, like), quadratic, affine)


@partial(compiled, quickly=True)
def _linearize(
    of: Parted, on: Parted, zeros: PyTree, step: jax.Array
) -> tuple[AffineMap, AffineMap, jax.Array, jax.Array]:
    """The maps of `init` and `step` of a kernel on an energy, whether the gradient is affine, and
    whether they are."""
    energy = on.whole
    check_energy(energy, zeros)
    kernel = at_step(of.whole, step)
    check_step(kernel, energy, zeros)
    init_noise = _zero_noise(kernel.init_noise, zeros)
    step_noise = _zero_noise(kernel.step_noise, zeros)
    state = kernel.init(energy, zeros, init_noise)
    for leaf in jax.tree.leaves(state):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise NotAffineError(f"kernel: its state has a leaf of dtype {leaf.dtype}")

    def from_position(x: PyTree, z: PyTree) -> Any:
        return kernel.init(energy, x, z)

    def from_state(state: Any, z: PyTree) -> Any:
        return kernel.step(energy, state, z)[0]

    init, init_is_affine = _derive(from_position, zeros, init_noise)
    moved, step_is_affine = _derive(from_state, state, step_noise)
    _, quadratic = _derive_gradient(energy, zeros)
    return init, moved, quadratic, init_is_affine & step_is_affine


def _derive(
    function: Callable[[Any, Any], PyTree], at: PyTree, noise: PyTree, *, each: bool = False
) -> tuple[AffineMap, jax.Array]:
    """The affine map that `function` is, and whether it is one.

    A deviation counts if rounding cannot explain it: in each entry by itself if `each`, else
    against the largest (a step forms differences, whose rounding is that of their terms).
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
        """Whether the map is affine as far as this probe shows, and whether it shows anything."""
        expected = product(matrix, z) + offset + product(scatter, xi)
        terms = product(jnp.abs(matrix), jnp.abs(z)) + jnp.abs(offset)
        terms += product(jnp.abs(scatter), jnp.abs(xi))
        if each:
            # A may be a sum of squares whose terms cancel in it; |A_ij|² ≤ A_ii A_jj bounds them.
            terms += root * (product(root, jnp.abs(z)) + jnp.max(shift, initial=0.0))
        else:
            terms = jnp.full_like(terms, jnp.max(terms, initial=0.0))
        found = flat(z, xi)
        overflows = jnp.any(jnp.isinf(found)) | ~jnp.all(jnp.isfinite(terms))
        return jnp.all(jnp.abs(found - expected) <= rounding * terms) | overflows, ~overflows

    fine, seen = jax.vmap(fits)(_probes(zero, 0.3), _probes(no_noise, 0.7))
    good &= jnp.all(fine) & jnp.any(seen)
    return AffineMap(matrix, offset, product(scatter, scatter.T)), good


def _derive_gradient(energy: Energy, zeros: PyTree) -> tuple[AffineMap, jax.Array]:
    """∇E(x) = A x + b as an affine map, and whether it is one."""
    return _derive(lambda x, _: gradient(energy, x), zeros, None, each=True)


def _probes(like: jax.Array, phase: float) -> jax.Array:
    """Fixed vectors of many sizes, in several directions and their opposites: (probe, element).

    Their entries have both signs and no pattern: cosines of the golden ratio's multiples.
    """
    golden = (np.sqrt(5) - 1) / 2
    index = np.arange(1, _PROBE_DIRECTIONS * like.size + 1).reshape(_PROBE_DIRECTIONS, like.size)
    directions = np.cos(2 * np.pi * (golden * index + phase))
    both = np.concatenate([directions, -directions])
    probes = np.concatenate([size * both for size in _PROBE_SIZES])
    return jnp.asarray(probes, like.dtype)


def _zero_noise(wants: PyTree, like: PyTree) -> PyTree:
    for want in jax.tree.leaves(wants):
        if (kind := noise.kind(want)) is not Want.NORMAL:
            raise NotAffineError(
                f"kernel: it asks for {kind}, not for normals alone, so its step is not affine "
                "in Gaussian noise and the law after it is not Gaussian; verify.invariance tests "
                "what such a kernel leaves as it is"
            )
    return trees.zeros(noise.shapes(wants, like))


def _refuse_not_affine(quadratic: jax.Array, affine: jax.Array, name: str = "it") -> None:
    if not trees.is_concrete(quadratic, affine):
        return
    if not bool(quadratic):
        raise NotAffineError(
            "energy: its gradient is not affine (or not finite at 0), so a chain on it has no "
            "Gaussian law; exact laws are for quadratic and linear energies. If a GPU rounds the "
            'products of such an energy, call this under jax.default_matmul_precision("highest")'
        )
    if not bool(affine):
        raise NotAffineError(
            "kernel: its step is not affine in state and noise on this energy, or not finite: "
            f"{name} has walls, tames the gradient, keeps a velocity's length, or has numbers out "
            "of range; exact laws are for kernels such as jlangevin.ula, and verify.invariance "
            "tests the others"
        )


def _poison(facts: _Facts, *good: jax.Array) -> _Facts:
    """`facts`, or NaN where not all are `good`: a refusal for traced values, of which none can be
    made in Python."""
    if trees.is_concrete(good):  # and not refused
        return facts
    all_good = reduce(operator.and_, good)
    step = AffineMap(*(jnp.where(all_good, leaf, jnp.nan) for leaf in facts.step))
    return facts._replace(step=step)


def _refuse_unstable(facts: _Facts) -> tuple[_Facts, _Growth]:
    growth = _growth(facts.step.matrix)
    if trees.is_concrete(growth) and not bool(growth.stable):
        raise UnstableStepError(
            f"step_size: the step's map has spectral radius {float(growth.radius):.6g}, so the "
            "chain grows without bound. Either the step is beyond the stability limit (ULA needs "
            "step_size < 2/λ_max of PA; see exact.step_size_for), or the energy has no minimum. "
            "exact.law gives the law all the same with allow_unstable=True"
        )
    return _poison(facts, growth.stable), growth


class _Growth(NamedTuple):
    """The spectral radius of a step's map, and whether it is not above 1, and below."""

    radius: jax.Array
    stable: jax.Array
    settles: jax.Array


@partial(compiled, quickly=True)
def _growth(matrix: jax.Array) -> _Growth:
    radius = _spectral_radius(lax.stop_gradient(matrix))
    # How far from 1 a computed spectral radius may be when it is 1.
    rounding = 10 * float(jnp.finfo(matrix.dtype).eps) * max(len(matrix), 1)
    return _Growth(radius, radius <= 1 + rounding, radius < 1 - rounding)


def _spectral_radius(matrix: jax.Array) -> jax.Array:
    """max |eigenvalue| = lim |F^n|^(1/n), n = 2, 4, 8, … (Gelfand): no eigensolver needed."""

    def normalized(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        norm = jnp.sqrt(jnp.sum(m * m))
        return m / jnp.where(norm > 0, norm, 1), jnp.log(norm)

    def square(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        m, log_radius = carry
        m, log_norm = normalized(product(m, m))
        return m, log_radius + log_norm * jnp.exp2(-(k + 1).astype(m.dtype))

    _, log_radius = lax.fori_loop(0, 60, square, normalized(matrix))
    return jnp.exp(log_radius)


def _quadratic(energy: Energy, position: PyTree) -> tuple[jax.Array, jax.Array]:
    """A = ∇²E and b = ∇E(0) over the raveled position, or a refusal."""
    check_energy(energy, position)
    slope, good = _derive_gradient(energy, trees.zeros(position))
    _refuse_not_affine(good, jnp.array(True))
    symmetric = jnp.array(True)
    if isinstance(energy, GivenGradient):
        symmetric = _is_symmetric(slope.matrix)
    if trees.is_concrete(symmetric) and not bool(symmetric):
        raise NoEnergyError(
            "energy: the derivative of its score is not symmetric, so the score is no gradient and "
            "there is no density exp(-E/T); exact.stationary gives the law a kernel tends to"
        )
    hessian = jnp.where(good & symmetric, (slope.matrix + slope.matrix.T) / 2, jnp.nan)
    return hessian, slope.offset


def _is_symmetric(matrix: jax.Array) -> jax.Array:
    largest = jnp.max(jnp.abs(matrix), initial=0)
    tolerance = 1e3 * float(jnp.finfo(matrix.dtype).eps) * max(len(matrix), 1)
    return jnp.max(jnp.abs(matrix - matrix.T), initial=0) <= tolerance * largest


# Composition --------------------------------------------------------------------------------


def _by_doubling(facts: _Facts, start: Gaussian, num_steps: int, full: bool) -> Gaussian:
    """The law after `num_steps` equal steps."""
    number = f"{num_steps:b}"
    # As many for most numbers, so that one program serves them all.
    digits = number.zfill(-(-len(number) // _DIGITS) * _DIGITS)
    bits = np.array([bit == "1" for bit in digits])
    return _composed(facts.init, facts.step, start, bits, Parted.of(facts.state), full=full)


@partial(compiled, static_argnames=("full",), quickly=True)
def _composed(
    init: AffineMap, step: AffineMap, start: Gaussian, bits: Any, state: Parted, *, full: bool
) -> Gaussian:
    law = _push(_power(step, bits), *_push(init, *_flat(start)))
    return _shown(state, *law, full)


def _power(step: AffineMap, bits: jax.Array) -> AffineMap:
    """`step` composed with itself as often as the binary number `bits` says, first bit first."""
    zero = jnp.zeros_like(step.offset)
    identity = AffineMap(jnp.eye(len(zero), dtype=zero.dtype), zero, jnp.zeros_like(step.cov))

    def digit(carry: tuple[AffineMap, Any], bit: jax.Array) -> tuple[Any, None]:
        power, begun = carry
        twice = lax.cond(begun, lambda p: _then(p, p), lambda p: p, power)
        return (lax.cond(bit, lambda p: _then(p, step), lambda p: p, twice), begun | bit), None

    (power, _), _ = lax.scan(digit, (identity, jnp.array(False)), bits)
    return power


def _then(first: AffineMap, second: AffineMap) -> AffineMap:
    mean, cov = _push(second, first.offset, first.cov)
    return AffineMap(product(second.matrix, first.matrix), mean, cov)


def _push(move: AffineMap, mean: jax.Array, cov: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The law N(mean, cov) after `move`."""
    moved = product(move.matrix, cov, move.matrix.T) + move.cov
    return product(move.matrix, mean) + move.offset, (moved + moved.T) / 2


def _step_by_step(
    kernel: Kernel, energy: Energy, start: Gaussian, num_steps: int, *, full: bool, keep: bool
) -> Gaussian:
    """The law after `num_steps` steps, or if `keep` after each of 0 … `num_steps`."""
    facts = _facts(kernel, energy, start.mean)
    law, first_bad = _walk(
        Parted.of(kernel),
        Parted.of(energy),
        Parted.of(facts.state),
        facts.init,
        facts.step,
        start,
        num_steps=num_steps,
        full=full,
        keep=keep,
    )
    if trees.is_concrete(first_bad) and int(first_bad) < num_steps:
        raise NotAffineError(
            f"kernel: at step {int(first_bad)} of its schedules the step is not affine or not "
            "finite; step_size and temperature must be finite and not below zero at every step"
        )
    return law


@partial(compiled, static_argnames=("num_steps", "full", "keep"))
def _walk(
    of: Parted,
    on: Parted,
    state: Parted,
    init: AffineMap,
    constant: AffineMap,
    start: Gaussian,
    *,
    num_steps: int,
    full: bool,
    keep: bool,
) -> tuple[Gaussian, jax.Array]:
    """The law from `start` on, every step `constant` if nothing is scheduled, and the first step
    that is not affine (`num_steps` if all are), from which on the law is NaN."""
    scheduled = has_schedule(of.whole)
    zeros = trees.zeros(start.mean)

    def push(carry: tuple[Any, jax.Array], t: jax.Array) -> tuple[Any, Any]:
        law, first_bad = carry
        move = constant
        if scheduled:
            _, move, _, affine = _linearize(of, on, zeros, t)
            move = AffineMap(*(jnp.where(affine, leaf, jnp.nan) for leaf in move))
            first_bad = jnp.where(affine, first_bad, jnp.minimum(first_bad, t))
        law = _push(move, *law)
        return (law, first_bad), law if keep else None

    first = _push(init, *_flat(start))
    steps = jnp.arange(num_steps, dtype=jnp.int32)
    (last, first_bad), later = lax.scan(push, (first, jnp.int32(num_steps)), steps)
    if not keep:
        return _shown(state, *last, full), first_bad
    each = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    return jax.vmap(lambda mean, cov: _shown(state, mean, cov, full))(*each), first_bad


def _flat(start: Gaussian) -> tuple[jax.Array, jax.Array]:
    return trees.ravel(start.mean), start.cov


def _shown(state: Parted, mean: jax.Array, cov: jax.Array, full: bool) -> Gaussian:
    """The law over the state, or its marginal over the position."""
    unravel = trees.unraveler(state.whole)
    if full:
        return _gaussian(unravel(mean), cov)
    select = jax.jacfwd(lambda z: trees.ravel(unravel(z).position))(mean)
    return _gaussian(unravel(mean).position, product(select, cov, select.T))


def _gaussian(mean: PyTree, cov: jax.Array) -> Gaussian:
    """A `Gaussian` out of computed parts, which need no checks."""
    return Gaussian.tree_unflatten(None, (mean, cov))


def _check_start(start: Any) -> None:
    check_gaussian(
        "start",
        start,
        "for chains that all begin at one point x, take Gaussian(x, zeros); for a quadratic "
        "energy's own law, exact.target(energy, position)",
    )
    start.check_single("start")
