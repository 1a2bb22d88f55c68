"""Warm-up: hyper-parameters found by running, and fixed for the run that counts.

A kernel that goes on changing with its own past has another law. So adaptation is a run of its own:
`warm_up` hands back a kernel with fixed hyper-parameters and the state to go on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jlangevin import reducers, trees
from jlangevin._checks import (
    check_count,
    check_key,
    check_known,
    check_positive,
    check_probability,
)
from jlangevin.errors import AdaptationError, EnergyWarning, PrecisionWarning, StuckWarning
from jlangevin.kernels.base import (
    Energy,
    Info,
    check_energy,
    check_kernel,
    gradient,
    has_schedule,
)
from jlangevin.kernels.preconditioner import Dense, Diagonal, as_preconditioner
from jlangevin.sampling import Run, SamplerState, resume, sample
from jlangevin.sampling.start import as_start
from jlangevin.trees import PyTree, pytree_dataclass

__all__ = ["WarmUp", "curvature", "warm_up"]

_PIECE = 20  # steps between two looks at the acceptance rate, and the unit of windows
_GAIN = 0.3  # by how much a log step size moves, for a step that is accepted or not


class WarmUp(NamedTuple):
    """What `warm_up` found."""

    kernel: Any  # the kernel given, with step size and preconditioner set
    state: SamplerState  # for `resume` with that kernel
    # Geometric means over chains, the first after 20 + num_steps % 20 steps, then after each 20.
    step_sizes: np.ndarray[Any, Any]
    acceptance: np.ndarray[Any, Any]  # mean rates over chains and the steps up to each of these


def warm_up(
    key: jax.Array,
    energy: Energy,
    kernel: Any,
    init: Any,
    *,
    num_steps: int = 1_000,
    num_chains: int | None = None,
    target_acceptance: float = 0.574,
    precondition: Literal["diagonal", "dense"] | None = "diagonal",
    sharding: Any = None,
) -> WarmUp:
    """Find a step size, and a preconditioner, for a kernel that accepts or rejects.

    Each chain has a step size of its own while this lasts, and every step moves it towards
    `target_acceptance`: log η increases by 0.3 (rate - target), after Robbins and Monro (1951). So
    chains settle from starts that suit no common step size, and none that is left behind holds up
    the others. For the first 30% of the steps that is all. Then the preconditioner, or the inverse
    of the mass, becomes S/T over windows that double in length; S is the covariance of all chains,
    or its diagonal. The last 10% are for the step size alone, and the kernel is given its geometric
    mean over the second half of these and over the chains. A proposal that is not finite counts as
    one that is rejected, no more.

    Nothing here has a unit of its own: where positions, starts, step size and preconditioner (or
    mass) are given in other units, so are the chains, and all that is found. A dense S is drawn
    towards its diagonal by as much as the noise of its correlations r asks for (Schäfer and
    Strimmer 2005): of n draws these keep 1 - w of their size, w = Σ (1 - r²)² / ((n - 1) Σ r²) or 1
    if that is less, with sums over all pairs.

    A kernel that wraps another (`mirrored`, `tempered`, `coupled`) has no step size of its own.
    Warm up the one inside by itself, on the energy that it is run on, and wrap `found.kernel`; the
    run that counts starts from positions, as `found.state` is that of the kernel inside. For
    `mirrored` that energy is W(u) = energy(domain.primal(u)) - T * domain.log_det(u), and positions
    are domain.primal(u).

    A chain that has not settled by then widens the preconditioner for all: look at R-hat, and at
    `run.info.acceptance_rate` of the run that follows. From far starts `malt` settles in the
    fewest gradients.

    Args:
        key: a typed Threefry key. The run that follows by `resume` goes on in its streams.
        energy, init, num_chains, sharding: as in `sample`.
        kernel: one with a step size and acceptance rates (`mala`, `barker`, `malt`), the step size
            the first that is tried. What its preconditioner or mass is counts in the first phase.
        num_steps: steps in all, at least 200.
        target_acceptance: in (0, 1). 0.574 is best for `mala` in many dimensions (Roberts and
            Rosenthal 1998).
        precondition: by the diagonal of the covariance, by all of it, or not at all.

    Returns:
        A `WarmUp`.

    Raises:
        TypeError: a kernel without a step size, acceptance rates or, if one is to be found,
            preconditioner.
        ValueError: numbers out of range, a scheduled step size; as `sample` otherwise.
        AdaptationError: no proposal that moves a chain was accepted, however small the step; or the
            chains have no covariance that is finite and positive definite.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 1e4])))
        >>> found = jl.warm_up(jax.random.key(0), energy, jl.mala(1e-3), jnp.zeros((100, 2)))
        >>> run = jl.resume(found.state, energy, found.kernel, num_steps=100)
        >>> abs(float(run.info.acceptance_rate.mean()) - 0.574) < 0.1
        True
    """
    check_key("key", key)
    check_kernel(kernel)
    check_known("warm-up decides on the host", key=key, energy=energy, kernel=kernel, init=init)
    num_steps = check_count("num_steps", num_steps, minimum=200)
    target_acceptance = check_probability("target_acceptance", target_acceptance)
    if precondition not in (None, "diagonal", "dense"):
        raise ValueError(
            f'precondition: expected "diagonal", "dense" or None, got {precondition!r}'
        )
    if not hasattr(kernel, "step_size"):
        own, hint = "", ""
        if hasattr(kernel, "kernel"):
            own = " of its own"
            hint = (
                f"; warm up {type(kernel.kernel).__name__}, the kernel inside, on the energy that "
                "it is run on, and wrap what is found"
            )
        raise TypeError(f"kernel: {type(kernel).__name__} has no step size{own} to adapt{hint}")
    if has_schedule(kernel):
        raise ValueError("kernel: a scheduled hyper-parameter cannot be adapted; pass a number")
    if precondition is not None and _shape_field(kernel) is None:
        raise TypeError(
            f"kernel: {type(kernel).__name__} has no preconditioner and no mass; pass "
            "precondition=None"
        )
    settle, windows, last = _phases(num_steps // _PIECE)
    kernel = _with_step(kernel, float(kernel.step_size))
    dense = precondition == "dense"
    seen = {"log_step": reducers.pooled(reducers.expectation(_log_step))}
    # So that one program serves throughout, the kernel has the form that is to be found, and what
    # is found is looked for from the first step on.
    if precondition is not None:
        kernel = _in_form(kernel, _template(init, num_chains), precondition)
        seen["moments"] = reducers.pooled(reducers.moments(_raveled, covariance=dense))
    moving = _Moving(kernel, np.float32(target_acceptance))
    with _quiet():
        run = sample(
            key,
            energy,
            moving,
            init,
            num_steps=_PIECE + num_steps % _PIECE,
            num_chains=num_chains,
            observe=None,
            reducers=seen,
            sharding=sharding,
        )
    history = _History([], [])
    state = history.note(run, kernel)._replace(reducers=None)
    before = state.kernel.position
    state, _ = _go_on(state, energy, moving, settle - 1, history, seen)
    # A step so small that it is lost in rounding is accepted, whatever the energy.
    if history.acceptance[0] == 0 and _same(before, state.kernel.position):
        raise AdaptationError(
            f"step_size: no proposal was accepted down to {min(history.step_sizes):.1e}; is the "
            "energy finite around the starts?"
        )
    if precondition is None:
        windows, last = [], last + sum(windows)
    for window in windows:
        state, run = _go_on(state, energy, moving, window, history, seen)
        # Near the best for `mala` on a Gaussian energy of which S/T is the inverse Hessian.
        first = run.summary["moments"].value.mean.shape[0] ** (-1 / 3)
        moving = dataclasses.replace(
            moving, kernel=_with_step(_preconditioned(kernel, run, dense), first)
        )
        state = _from_the_first(state)
    state, _ = _go_on(state, energy, moving, last // 2, history, seen)
    state, run = _go_on(state, energy, moving, last - last // 2, history, seen, last=True)
    step_size = _step_size(moving.kernel, run.summary["log_step"].value)
    found = _with_step(moving.kernel, step_size)
    state = state._replace(kernel=state.kernel.chain)
    return WarmUp(found, state, np.array(history.step_sizes), np.array(history.acceptance))


class _MovingState(NamedTuple):
    chain: Any  # the kernel's own state
    log_step: jax.Array  # the log of this chain's step size over that of the kernel

    @property
    def position(self) -> Any:
        return self.chain.position


@pytree_dataclass
class _Moving:
    """`kernel` with a step size to each chain, which moves to where `target` is accepted.

    It depends on the chain's past, so no law is kept.
    """

    kernel: Any
    target: Any

    @property
    def init_noise(self) -> PyTree:
        return self.kernel.init_noise

    @property
    def step_noise(self) -> PyTree:
        return self.kernel.step_noise

    def init(self, energy: Energy, position: PyTree, noise: Any) -> _MovingState:
        log_step = jnp.zeros((), trees.float_dtype(position))
        return _MovingState(self.kernel.init(energy, position, noise), log_step)

    def step(self, energy: Energy, state: _MovingState, noise: Any) -> tuple[_MovingState, Info]:
        first = jnp.asarray(self.kernel.step_size, state.log_step.dtype)
        kernel = dataclasses.replace(self.kernel, step_size=first * jnp.exp(state.log_step))
        chain, info = kernel.step(energy, state.chain, noise)
        if info.acceptance_rate is None:
            raise TypeError(
                f"kernel: {type(kernel).__name__} accepts everything, so there is no acceptance "
                "rate to aim at; see adaptation.curvature for its step size"
            )
        rate = info.acceptance_rate.astype(state.log_step.dtype)
        error = rate - jnp.asarray(self.target, rate.dtype)
        return _MovingState(chain, state.log_step + _GAIN * error), info


class _History(NamedTuple):
    step_sizes: list[float]
    acceptance: list[float]

    def note(self, run: Run, kernel: Any) -> SamplerState:
        """Its state, with nothing counted yet."""
        self.step_sizes.append(_step_size(kernel, jnp.mean(run.state.kernel.log_step)))
        self.acceptance.append(float(jnp.mean(run.info.acceptance_rate)))
        tally = run.state.tally
        return run.state._replace(
            tally=tally._replace(
                num_steps=jnp.zeros_like(tally.num_steps),
                acceptance=jnp.zeros_like(tally.acceptance),
                rejections=jax.tree.map(jnp.zeros_like, tally.rejections),
            )
        )


def _go_on(
    state: SamplerState,
    energy: Energy,
    kernel: _Moving,
    pieces: int,
    history: _History,
    reducer: Any,
    *,
    last: bool = False,
) -> tuple[SamplerState, Any]:
    """Run pieces, which `reducer` sees as one run: the state after them, and the last of them.

    `last` says that they are the last of all, after which chains should be where they belong.
    """
    run = None
    for piece in range(pieces):
        with _quiet(precision=last and piece == pieces - 1):
            run = resume(state, energy, kernel, num_steps=_PIECE, observe=None, reducers=reducer)
            state = history.note(run, kernel.kernel)
    return state._replace(reducers=None), run


@contextlib.contextmanager
def _quiet(*, precision: bool = False) -> Iterator[None]:
    """Chains that do not move yet, or propose to go where the energy overflows, are what warm-up is
    for: what is left of that is said of the run that follows. What is said of `precision` in the
    end goes for all that was found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StuckWarning)
        warnings.simplefilter("ignore", EnergyWarning)
        if not precision:
            warnings.simplefilter("ignore", PrecisionWarning)
        yield


def _with_step(kernel: Any, step_size: float) -> Any:
    return dataclasses.replace(kernel, step_size=jnp.asarray(step_size, float))


def _step_size(kernel: Any, log_step: Any) -> float:
    return float(kernel.step_size) * math.exp(float(log_step))


def _from_the_first(state: SamplerState) -> SamplerState:
    """With the kernel's own step size for each chain to start from."""
    log_step = jnp.zeros_like(state.kernel.log_step)
    return state._replace(kernel=state.kernel._replace(log_step=log_step))


def _log_step(state: Any) -> jax.Array:
    return state.log_step


def _raveled(state: Any) -> jax.Array:
    return trees.ravel(state.position)


def _phases(pieces: int) -> tuple[int, list[int], int]:
    """How many pieces to settle in, in each window, twice as long as the one before, and last."""
    settle, last = math.ceil(0.3 * pieces), math.ceil(0.1 * pieces)
    rest, windows = pieces - settle - last, [2]
    while sum(windows) + 3 * 2 * windows[-1] <= rest:
        windows.append(2 * windows[-1])
    windows.append(rest - sum(windows))
    return settle, windows, last


def _template(init: Any, num_chains: int | None) -> PyTree:
    """A position of one chain, as zeros."""
    _, start = as_start(init, num_chains, None)
    shapes = trees.struct(start.template())
    one = trees.one_chain(shapes) if start.chained else shapes
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), one)


def _in_form(kernel: Any, like: PyTree, precondition: str) -> Any:
    """What multiplies by a number, or by none, as a diagonal or a matrix."""
    given = getattr(kernel, str(_shape_field(kernel)))
    if isinstance(given, Diagonal | Dense):
        return kernel
    scale = 1.0 if given is None else np.asarray(given.scale)
    flat = np.full(trees.size(like), scale**2, trees.float_dtype(like))
    shape = flat if precondition == "diagonal" else np.diag(flat)
    return _with_shape(kernel, jnp.asarray(shape), like)


def _preconditioned(kernel: Any, run: Run, dense: bool) -> Any:
    """With the covariance of a window over T: on a Gaussian energy the inverse of its Hessian."""
    moments, num_chains, _ = run.summary["moments"]
    temperature = jnp.asarray(getattr(kernel, "temperature", 1.0), moments.variance.dtype)
    shape = moments.variance / temperature
    variances = np.diagonal(shape) if dense else np.asarray(shape)
    still, finite = int(np.sum(variances == 0)), bool(np.isfinite(shape).all())
    if still or not finite:
        extent = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(run.position))
        what = f"is 0 for {still} of {len(variances)} coordinates" if finite else "is not finite"
        raise AdaptationError(
            f"{_argument(kernel)}: the covariance of the chains, whose positions are of the size "
            f"{extent:.1e}, {what} in {shape.dtype}; measure positions in a unit in which their "
            "squares are finite and not 0, or pass precondition=None"
        )
    if dense:
        shape = _shrunk(shape, int(run.state.tally.num_draws) * int(num_chains))
    like = jax.tree.map(lambda leaf: leaf[0], run.position)
    try:
        return _with_shape(kernel, shape, like)
    except ValueError as error:
        raise AdaptationError(
            f"{_argument(kernel)}: the covariance of the chains is not positive definite in "
            f"{shape.dtype}; take coordinates whose scales differ less, enable x64, or pass "
            'precondition="diagonal" or None'
        ) from error


def _shrunk(covariance: jax.Array, count: int) -> jax.Array:
    """The covariance of `count` draws, drawn towards its diagonal; see `warm_up`."""
    wide = np.asarray(covariance, np.float64)
    root = np.sqrt(np.diagonal(wide))
    square = (wide / root[:, None] / root) ** 2
    between = ~np.eye(len(root), dtype=bool)
    noise, signal = np.sum((1 - square[between]) ** 2), (count - 1) * np.sum(square[between])
    weight = noise / signal if noise < signal else 1.0
    return jnp.asarray(np.where(between, (1 - weight) * wide, wide), covariance.dtype)


def _same(tree: PyTree, other: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(bool(jnp.array_equal(a, b)) for a, b in pairs)


def _with_shape(kernel: Any, shape: jax.Array, like: PyTree) -> Any:
    """With a diagonal, or a matrix, over the elements of a position `like`."""
    name = _argument(kernel)
    if shape.ndim == 2:
        found: Any = as_preconditioner(shape, name)
    else:
        check_positive(name, shape)
        found = Diagonal(ravel_pytree(like)[1](jnp.sqrt(shape)), name)
    return dataclasses.replace(kernel, **{str(_shape_field(kernel)): found})


def _shape_field(kernel: Any) -> str | None:
    """Where a kernel holds what is the covariance at best: its preconditioner or inverse mass."""
    names = (name for name in ("preconditioner", "inverse_mass") if hasattr(kernel, name))
    return next(names, None)


def _argument(kernel: Any) -> str:
    """What a user calls it: the argument of the kernel's constructor."""
    return "mass" if _shape_field(kernel) == "inverse_mass" else "preconditioner"


def curvature(energy: Energy, position: Any, *, num_iterations: int = 50) -> jax.Array:
    """The largest eigenvalue of ∇²E at a position, in absolute value, by power iteration.

    What a kernel that accepts everything makes of it, on a quadratic energy:

        ula                    stable iff η λ_max < 2; along that eigenvector the variance has the
                               relative bias δ = z/2 / (1 - z/2), z = η λ_max: for a wanted δ take
                               η = 2 δ / ((1 + δ) λ_max)
        leimkuhler_matthews    stable iff η λ_max < 2, without bias
        underdamped            stable iff h² λ_max / m < 4, whatever the friction, by the symmetric
                               splittings; what bias these have is in its docstring

    For the bias along all eigenvectors, of any affine kernel, see `diagnostics.bias`. Each
    iteration costs a gradient's derivative along a vector, about two gradients.

    Args:
        energy: a callable from a position to a scalar, twice differentiable; or a score as
            `jlangevin.scores` makes them.
        position: where, a pytree of floating arrays; a mode, or a draw.
        num_iterations: enough where the largest eigenvalue is not alone.

    Raises:
        TypeError: an energy that cannot be called, or a position that is not floating.
        ValueError: `num_iterations` below 1, an energy that is no scalar, or a score that is not
            like the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 50.0])))
        >>> round(float(jl.adaptation.curvature(energy, jnp.zeros(2))), 3)
        50.0
    """
    num_iterations = check_count("num_iterations", num_iterations, minimum=1)
    position = trees.as_position("position", position, floating=True)
    check_energy(energy, position)
    flat, unravel = ravel_pytree(position)

    def slope(x: jax.Array) -> jax.Array:
        return trees.ravel(gradient(energy, unravel(x)))

    def iterate(_: Any, v: jax.Array) -> jax.Array:
        turned = jax.jvp(slope, (flat,), (v,))[1]
        length = jnp.linalg.norm(turned)
        return jnp.where(length > 0, turned / length, v)

    start = jnp.cos(jnp.arange(1, flat.size + 1).astype(flat.dtype))  # orthogonal to none by design
    v = jax.lax.fori_loop(0, num_iterations, iterate, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(jax.jvp(slope, (flat,), (v,))[1])
