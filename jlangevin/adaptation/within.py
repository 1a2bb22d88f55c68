"""A step size with a given bias, for kernels that accept every step, in any dimension."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_triangular

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_count, check_key, check_known, check_scalar
from jlangevin._core.each import refuse_each
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.adaptation.ensemble import host, quiet
from jlangevin.adaptation.kernel import (
    Form,
    is_isokinetic,
    is_kinetic,
    metric_of,
    number,
    with_metric,
)
from jlangevin.adaptation.kernel import check as check_step_size
from jlangevin.adaptation.warm_up import WarmUp, warm_up
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.errors import DivergenceWarning, WarmUpWarning
from jlangevin.kernels.base import check_kernel
from jlangevin.kernels.mala import mala
from jlangevin.kernels.traits import Traits
from jlangevin.reducers.expectation import Expectation, expectation
from jlangevin.sampling import SamplerState, resume, sample

__all__ = ["WithinBias", "warm_up_within"]

Array = np.ndarray[Any, np.dtype[np.float64]]

_SEEN = 0.1  # a bias that is soon measured, and small enough to be scaled by its order
_LARGE, _SMALL = 3.0, 0.8  # times the bias aimed at: outside of this the step size changes
_CLEAR = 6.0  # how many standard errors a bias has to be, to be scaled
_BOUND = 3.0  # standard errors, within which a bias is taken to be
_PRECISE = 0.04  # the relative error of the reference, as a share of the bias aimed at
_LOOKS = 40  # looks at chains without bias, which show the directions
_TRIALS = 16  # step sizes tried, at most
_MARGIN = 1.4  # how many times smaller a step is than one at which chains diverge, or nearly
_OFF = 0.6  # by how much log₂ of the ratio of two biases may miss their order, which is 1 or 2
_DENSE = 100  # elements of a position, up to which all directions are looked at


class WithinBias(NamedTuple):
    """The result of `warm_up_within`. Printed, it is a few lines."""

    kernel: Any  # the kernel given, with step size and preconditioner set
    state: SamplerState  # for `resume` with that kernel
    bias: float  # the bias asked for; NaN if it cannot be told
    at_most: bool  # whether the bias is that or less, as it was not seen to reach it
    tried: tuple[tuple[float, float, float], ...]  # step sizes, largest biases, standard errors
    problems: tuple[str, ...]
    reference: WarmUp  # the warm-up of the kernel without bias that it was compared with

    def __str__(self) -> str:
        said = f"of {self.bias:.2g}{' at most' * self.at_most}"
        said = "that cannot be told" if math.isnan(self.bias) else said
        name, step_size = type(self.kernel).__name__, float(self.kernel.step_size)
        lines = [f"{name}: step size {step_size:.4g}, a bias {said}"]
        lines += ["  tried     largest bias"] * bool(self.tried)
        lines += [f"  {h:<8.4g}  {b:+.3f} ± {e:.3f}" for h, b, e in self.tried]
        lines += [f"  problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


def warm_up_within(
    key: jax.Array,
    energy: Energy,
    kernel: Any,
    init: Drawable | PyTree,
    *,
    bias: float,
    num_steps: int = 20_000,
    num_chains: int | None = None,
    precondition: Form | None = "auto",
) -> WithinBias:
    """Find a step size with a given bias for a kernel that accepts every step, on any energy.

    Such a kernel samples a law other than exp(-E/T). How far off this law is depends on the step
    size. The bias is defined as

        max_u  | E_η[u(x)²] / E[u(x)²] - 1 |

    over the directions u, centred at the mean, that make the law round: all coordinates of the
    position after whitening, for up to 100 elements; beyond that, the coordinates themselves.

    **Warm up** `mala`, which has no bias, until its chains have settled (see `warm_up`). Its
    preconditioner becomes the kernel's own, or its inverse mass.

    **Measure** the bias against chains of `mala`, at a step size where it is about 0.1 (or `bias`,
    if that is larger), so that it is soon seen, and at half of that step size.

    **Scale.** The two measurements show with which power of η the bias falls, η or η², and this
    gives the step size. If the bias follows neither power, or is not clear, a warning says that it
    cannot be told. If it is seen to stay below `bias` at a step size that was tried, that step size
    is returned, and `at_most` is True.

    Args:
        key: a typed Threefry key.
        energy, init, num_chains: as in `warm_up`. Errors come from the spread between chains: use
            100 chains or more; at least 16 are required.
        kernel: one that accepts every step, and has a step size and a temperature: `ula`,
            `tamed_ula` (with precondition=None), `leimkuhler_matthews`, `underdamped`, `quicsort`,
            or your own. Its friction is kept.
        bias: δ in (0, 1); 0.01 for one percent.
        num_steps: the most steps for the warm-up, and for each step size that is tried.
        precondition: as in `warm_up`; None to keep the kernel's own.

    Returns:
        A `WithinBias`. Print it. If its `bias` is NaN, its step size is a cautious guess.

    Raises:
        TypeError: a kernel without a step size or a temperature; one that accepts or rejects, and
            so has no bias; one with walls or with gradients from an estimator, which `mala` does
            not have; `microcanonical`, for which `warm_up` has `energy_variance`.
        ValueError: numbers out of range, fewer than 16 chains; otherwise as for `warm_up`.
        WarmUpWarning: the bias cannot be told, and why; also as for `warm_up`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 100.0])))
        >>> found = jl.adaptation.warm_up_within(
        ...     jax.random.key(0), energy, jl.ula(0.1), jnp.zeros((200, 2)), bias=0.02)
        >>> law = jl.exact.stationary(found.kernel, energy, jnp.zeros(2))
        >>> 0.01 < float(law.cov[0, 0]) - 1 < 0.04
        True
    """
    check_key("key", key)
    check_kernel(kernel)
    _check_has_bias(kernel, precondition)
    check_known("warm-up decides on the host", key=key, energy=energy, kernel=kernel, init=init)
    hint = "biases are judged over all chains together; call it for one value, or in a loop"
    refuse_each(hint, energy=energy, kernel=kernel)
    bias = float(check_scalar("bias", bias, positive=True))
    if bias >= 1:
        raise ValueError(f"bias: expected a number in (0, 1), as 0.01 for one percent, got {bias}")
    num_steps = check_count("num_steps", num_steps, minimum=200)
    warming, measuring = jax.random.split(key)
    reference = warm_up(
        *(warming, energy, mala(0.1, temperature=kernel.temperature), init),
        num_steps=num_steps,
        num_chains=num_chains,
        precondition=precondition,
    )
    count = reference.verdict.num_chains
    if count < 16:
        raise ValueError(
            f"init: errors come from the spread between 16 chains or more, got {count}"
        )
    search = _BiasSearch(
        measuring, energy, kernel, reference, bias, num_steps, precondition is not None
    )
    found = search.run()
    if found.problems:
        warn(f"the bias cannot be told: {'; '.join(found.problems)}", WarmUpWarning)
    return found


def _check_has_bias(kernel: Any, precondition: Form | None) -> None:
    name, traits = type(kernel).__name__, Traits.of(kernel)
    if traits.by_value:
        raise TypeError(f"kernel: {name} accepts or rejects, and so has no bias; use warm_up")
    if is_isokinetic(kernel):
        raise TypeError(f"kernel: {name} is warmed up by warm_up, to a given energy_variance")
    if traits.walled or traits.estimates:
        has = "walls" if traits.walled else "gradients from an estimator"
        raise TypeError(f"kernel: {name} has {has}, and mala, which it is compared with, does not")
    check_step_size(kernel, precondition)
    if not traits.has_temperature:
        raise TypeError(f"kernel: {name} has no temperature, so mala does not know its target")


class _Measurement(NamedTuple):
    """The bias at a step size, in each direction, and its standard errors."""

    step_size: float
    biases: Array
    errors: Array

    @property
    def worst(self) -> int:
        return int(np.argmax(np.abs(self.biases)))

    @property
    def size(self) -> float:
        return float(np.abs(self.biases[self.worst]))

    @property
    def error(self) -> float:
        return float(self.errors[self.worst])

    @property
    def is_clear(self) -> bool:
        return self.size > _CLEAR * self.error

    @property
    def bound(self) -> float:
        """The largest bias that is likely in any direction."""
        return float(np.max(np.abs(self.biases) + _BOUND * self.errors))


class _Chains:
    """Chains of one kernel that are run piece by piece."""

    def __init__(self, energy: Energy, kernel: Any, state: SamplerState, num_steps: int) -> None:
        self.energy, self.kernel, self.state = energy, kernel, state
        self.num_steps = num_steps  # of a piece
        self.seen = 0  # measured steps
        self.summary: Any = None  # of the reducers, over all measured steps

    def go(self, num_steps: int, reducers: Any = None) -> bool:
        """Run on, and return whether all chains are finite."""
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            run = resume(
                *(self.state, self.energy, self.kernel),
                num_steps=num_steps,
                observe=None,
                reducers=reducers,
            )
        self.state, self.summary = run.state, run.summary
        return not host(run.info.num_divergent).any()

    def squares(self, along: Expectation) -> tuple[Array, Array] | None:
        """After one more piece, the mean square along each direction and its standard error, from
        the spread between chains; None if one has diverged."""
        if not self.go(self.num_steps, along):
            return None
        self.seen += self.num_steps
        means = host(self.summary).astype(np.float64)
        return np.mean(means, axis=0), np.std(means, axis=0, ddof=1) / math.sqrt(len(means))

    @property
    def positions(self) -> Array:
        """(chain, d)."""
        leaves = [host(leaf) for leaf in jax.tree.leaves(self.state.kernel.position)]
        flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
        return np.concatenate(flat, axis=1, dtype=np.float64)


class _BiasSearch:
    """The step sizes that are tried, and the unbiased chains with which they are compared."""

    def __init__(
        self,
        key: jax.Array,
        energy: Energy,
        kernel: Any,
        reference: WarmUp,
        bias: float,
        num_steps: int,
        metric: bool,
    ) -> None:
        self.key, self.energy, self.reference = key, energy, reference
        self.bias, self.most, self.aim = bias, num_steps, max(bias, _SEEN)
        self.like = trees.one_chain(trees.struct(reference.state.kernel.position))
        self.first = float(reference.kernel.step_size)
        self.kinetic = is_kinetic(kernel)
        if metric:
            kernel = with_metric(kernel, metric_of(reference.kernel, self.like), self.like)
        self.kernel = kernel
        settled_in = max(reference.verdict.num_steps // 2, _LOOKS)
        self.exact = _Chains(energy, reference.kernel, reference.state, settled_in)
        self.trials: list[_Measurement] = []
        self.num_begun = 0  # runs

    def run(self) -> WithinBias:
        problems = [f"mala has not settled: {each}" for each in self.reference.verdict.problems]
        self._look_at_reference()
        step_size, unstable = math.sqrt(2 * self.first) if self.kinetic else self.first, math.inf
        first = top = None
        for _ in range(_TRIALS):
            if self._piece(step_size) > self.most:
                break  # too slow to be judged
            trial = self._tried(step_size, _SMALL * self.aim)
            if trial is None:
                unstable = step_size
                step_size = step_size / 2 if top is None else math.sqrt(top * unstable)
                if top is not None and step_size < 1.2 * top:
                    break
            elif trial.size > _LARGE * self.aim:
                unstable = min(unstable, step_size)
                step_size *= max(self.aim / trial.size, 1 / 8)
            elif trial.is_clear and trial.size >= _SMALL * self.aim:
                first = trial
                break
            else:
                top = step_size
                step_size = min(2 * step_size, unstable / _MARGIN)
                if step_size < 1.2 * top:
                    break
        if first is None and top is not None:  # the bias is small wherever chains are stable
            first = self._tried(top, self.bias)
        if first is None:
            last = self.trials[-1] if self.trials else None
            what = "chains were unstable" if last is None else f"it is {last.size:.2g}"
            down = 2 * step_size if last is None else last.step_size
            problems.append(
                f"{what} down to a step size of {down:.3g}, and smaller steps take too long for "
                f"num_steps={self.most}, if the kernel's bias goes to 0 with its step at all"
            )
            return self._given(step_size, problems)
        if first.bound <= self.bias:
            return self._given(first.step_size, problems, at_most=True)
        half = self._tried(first.step_size / 2, 0.0)
        if half is not None and not half.is_clear and half.bound <= self.bias:
            return self._given(half.step_size, problems, at_most=True)
        return self._given(self._scaled(first, half, problems), problems)

    def _scaled(self, first: _Measurement, half: _Measurement | None, problems: list[str]) -> float:
        """The step size that has the bias wanted. If it cannot be told, a cautious one, and the
        reason is added to the problems."""
        cautious = first.step_size * min(self.bias / first.bound, 1)
        if half is None or not (first.is_clear and half.is_clear):
            unclear = first if half is None or not first.is_clear else half
            problems.append(
                f"at a step size of {unclear.step_size:.3g} it is {unclear.size:.2g} ± "
                f"{unclear.error:.2g}, which is not clear; give more chains, or more steps than "
                f"num_steps={self.most}"
            )
            return cautious
        worst = half.worst
        ratio = first.biases[worst] / half.biases[worst]
        power = math.log2(ratio) if ratio > 0 else -math.inf
        order = 1 if power < 1.5 else 2
        unsure = (each.errors[worst] / abs(each.biases[worst]) for each in (first, half))
        slack = _BOUND * sum(unsure) / math.log(2)
        if abs(power - order) > _OFF + slack:
            problems.append(
                f"it is {first.biases[worst]:+.2g} at a step size of {first.step_size:.3g} "
                f"and {half.biases[worst]:+.2g} at half of it, which follows neither η nor η²"
            )
            return cautious
        return half.step_size * (self.bias / half.size) ** (1 / order)

    def _look_at_reference(self) -> None:
        """Find the directions, and measure the squares along them as exactly as needed."""
        looks: list[Array] = []
        for _ in range(_LOOKS):
            self.exact.go(max(self.exact.num_steps // _LOOKS, 1))
            looks.append(self.exact.positions)
        rows = np.concatenate(looks)
        self.along = expectation(_squares_along(*_directions(rows), self.like))
        while self.exact.seen < self.most:
            found = self.exact.squares(self.along)
            assert found is not None, "mala rejects what is not finite"
            self.squares, self.errors = found
            if np.max(self.errors / self.squares) < _PRECISE * min(self.aim, 3 * self.bias):
                break

    def _tried(self, step_size: float, small: float) -> _Measurement | None:
        """The bias at a step size, once it is clear, or below `small`; None if chains diverge."""
        chains = self._begun(step_size)
        if not chains.go(chains.num_steps):
            return None
        while True:
            found = chains.squares(self.along)
            if found is None:
                return None
            squares, errors = found
            ratio = squares / self.squares
            errors = ratio * np.hypot(errors / squares, self.errors / self.squares)
            trial = _Measurement(step_size, ratio - 1, errors)
            done = trial.is_clear or trial.bound < small
            if done or chains.seen + chains.num_steps > self.most:
                self.trials.append(trial)
                return trial

    def _begun(self, step_size: float) -> _Chains:
        """Chains with this step size, from where the unbiased chains are now."""
        kernel = dataclasses.replace(self.kernel, step_size=number(step_size))
        key = jax.random.fold_in(self.key, self.num_begun)
        self.num_begun += 1
        there: PyTree = self.exact.state.kernel.position
        with quiet():
            state = sample(key, self.energy, kernel, there, num_steps=0, observe=None).state
        return _Chains(self.energy, kernel, state, min(self._piece(step_size), self.most))

    def _piece(self, step_size: float) -> int:
        """Steps in which chains with this step size forget where they were."""
        slower = self.first / (step_size**2 / 2 if self.kinetic else step_size)
        slower = max(math.sqrt(slower) if self.kinetic else slower, 1.0)
        return math.ceil(self.exact.num_steps * slower)

    def _given(self, step_size: float, problems: list[str], *, at_most: bool = False) -> WithinBias:
        chains = self._begun(step_size)
        if not chains.go(chains.num_steps):
            problems.append(f"chains diverged at a step size of {step_size:.3g}, too")
        tried = [(t.step_size, float(t.biases[t.worst]), t.error) for t in self.trials]
        bias = math.nan if problems else self.bias
        return WithinBias(
            *(chains.kernel, chains.state, bias, at_most, tuple(tried)),
            *(tuple(problems), self.reference),
        )


def _directions(rows: Array) -> tuple[Array, Array]:
    """The mean, and the matrix, or its diagonal, that makes the law of the rows round."""
    d = rows.shape[1]
    if d > _DENSE:
        return rows.mean(axis=0), 1 / rows.std(axis=0)
    root = np.linalg.cholesky(np.cov(rows.T).reshape(d, d))
    return rows.mean(axis=0), np.asarray(solve_triangular(root, np.eye(d), lower=True))


def _squares_along(mean: Array, matrix: Array, like: PyTree) -> Callable[[Any], jax.Array]:
    """A function of a kernel's state: its squares along all directions, (direction,)."""
    dtype = trees.float_dtype(like)
    centre, to_round = jnp.asarray(mean, dtype), jnp.asarray(matrix, dtype)

    def squares(state: Any) -> jax.Array:
        away = trees.ravel(state.position) - centre
        round_ = to_round * away if to_round.ndim == 1 else product(to_round, away)
        found: jax.Array = round_**2
        return found

    return squares
