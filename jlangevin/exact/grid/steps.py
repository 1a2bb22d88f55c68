"""A kernel's step of one coordinate, at many positions and noises at a time.

The kernel's own `init` and `step` are evaluated. The host asks in float64; the step runs in the
positions' dtype. All calls have the same size, so that one program serves every grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import check_known, check_no_half, check_tree, check_width
from jlangevin._core.compiling import compiled, result_shapes
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy, check_energy
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.panels import Flags, Floats
from jlangevin.kernels.base import Kernel, check_kernel, check_step, has_schedule, resolve_schedules
from jlangevin.noise import Want

__all__ = [
    "CHUNK",
    "HostSteps",
    "StepFunction",
    "as_grid_position",
    "check_rate",
    "one_element",
    "refuse_schedules",
    "step_of_one",
]

CHUNK, _FEW = 1 << 14, 1 << 12  # positions at a time
_HALVINGS = {True: 32, False: 48}  # to find where all is accepted, and where the outcome changes


def as_grid_position(name: str, position: PyTree) -> PyTree:
    """`position` as arrays; raises if their dtype is too coarse for a grid."""
    check_tree(name, position)
    position = trees.as_position(name, position, floating=True)
    for where, leaf in trees.named_leaves(name, position):
        check_no_half(where, leaf.dtype, "which is too coarse for a grid")
    return position


def one_element(name: str, position: PyTree) -> PyTree:
    """`position` as floating arrays with one element in all; raises if there are more."""
    position = as_grid_position(name, position)
    if (size := trees.size(position)) != 1:
        raise NoGridLawError(
            f"{name}: a grid is for positions of one element, and in exact.grid_law and questions "
            f"like it of two; got {trees.shown(position)}, which has {size}. If energy and kernel "
            "move each coordinate independently, ask for the law of one; exact.law is for affine "
            "chains of any dimension"
        )
    return position


def refuse_schedules(kernel: Kernel) -> None:
    """Raise NoGridLawError for a kernel whose hyper-parameters depend on the step."""
    if has_schedule(kernel):
        raise NoGridLawError(
            f"kernel: this {type(kernel).__name__} has a schedule, and a grid holds one step; give "
            "it the step size and the temperature of one step"
        )


class HostSteps:
    """A kernel and an energy whose functions the host evaluates at many points at a time.

    Attributes:
        given: kernel, energy and a position, for the functions that are mapped.
        dtype: that of the positions.
        rejects: whether a step accepts or rejects, by a uniform.
        like: a position.
        name: that of the kernel.
    """

    rejects: bool

    def __init__(self, kernel: Kernel, energy: Energy, position: PyTree) -> None:
        self.like = trees.zeros(position)
        check_kernel(kernel, self.like)
        check_width(kernel=kernel, energy=energy, position=position)
        check_known("a grid is made on the host", kernel=kernel, energy=energy)
        self.name = type(kernel).__name__
        refuse_schedules(kernel)
        check_energy(energy, self.like)
        self.dtype = trees.float_dtype(self.like)
        self.kernel, self.energy = kernel, energy
        self.given = Parted.of(kernel), Parted.of(energy), self.like

    def _see(self, kinds: list[Want]) -> None:
        """Set `rejects`, by the noise that the kernel asks for; raise if it rejects and does not
        report how often."""
        _, info = result_shapes(_checked_shapes, *self.given)
        self.rejects = Want.UNIFORM in kinds
        if self.rejects and info.acceptance_rate is None:
            raise NoGridLawError(
                f"kernel: {self.name} asks for a uniform and reports no acceptance_rate, so what "
                "it does with it is not known; report it in jlangevin.Info"
            )

    def _map(self, function: Any, *args: Any, size: int = CHUNK) -> tuple[Floats, ...]:
        """`function` of arrays with equally long last axes, in calls of one size."""
        parts = [function(*self.given, *chunk) for chunk in self.chunks(args, size)]
        parts = jax.device_get(parts)
        length = np.shape(args[0])[-1]
        return tuple(
            np.concatenate(each, axis=-1)[..., :length].astype(np.float64)
            for each in zip(*parts, strict=True)
        )

    def chunks(self, args: Any, size: int) -> Iterator[list[Any]]:
        """Arrays with equally long last axes, cut to one size; zeros fill up the last part."""
        length = np.shape(args[0])[-1]
        for begin in range(0, max(length, 1), size):
            chunk = []
            for arg in args:
                part = np.asarray(arg)[..., begin : begin + size]
                pad = [(0, 0)] * (part.ndim - 1) + [(0, size - part.shape[-1])]
                chunk.append(np.pad(part, pad).astype(self.dtype))
            yield chunk


def check_rate(steps: Any, x: Floats, z: Floats) -> None:
    """Raise unless the uniform accepts if it is below the reported rate, and only then.

    Looked at in steps from `x`, (…, m), with normals `z`, (normals, m).
    """

    def differs(a: Floats, b: Floats) -> Flags:
        return np.any(np.atleast_2d(a != b), axis=0)

    y, rate = steps(x, z)
    seen = (rate > 1e-3) & (rate < 0.999) & differs(y, x)
    below, _ = steps(x, z, 0.999 * rate)
    above, _ = steps(x, z, rate + 0.001 * (1 - rate))
    if np.any(seen & (differs(below, y) | differs(above, x))):
        raise NoGridLawError(
            f"kernel: {steps.name} does not move where its uniform is below the acceptance_rate "
            "that it reports, and stay where it is above; mend the one or the other"
        )


class StepFunction(HostSteps):
    """The step of a chain in one dimension.

    Attributes:
        num_normals: how many normals a step asks for.
    """

    def __init__(self, kernel: Kernel, energy: Energy, position: PyTree) -> None:
        super().__init__(kernel, energy, one_element("position", position))
        kinds = self._kinds(kernel)
        self.num_normals = sum(kind is Want.NORMAL for kind in kinds)
        self._see(kinds)

    def _kinds(self, kernel: Kernel) -> list[Want]:
        init = jax.tree.leaves(kernel.init_noise)
        wants = jax.tree.leaves(kernel.step_noise)
        single = all(isinstance(want, Want) for want in wants)
        kinds = [noise.kind_of_want(want) for want in wants]
        if init or not single or Want.KEY in kinds or kinds.count(Want.UNIFORM) > 1:
            has = "starts with noise of its own, and so has more of a state than the position"
            if not init:
                has = "asks for a key, for more than one uniform, or for many of a kind"
            raise NoGridLawError(
                f"kernel: {self.name} {has}; a grid is for kernels whose state is only the "
                "position, with normals and one uniform: ula, tamed_ula, mala, barker, projected, "
                "reflected, reflected_mala, gradient_noise and your own"
            )
        if Want.NORMAL not in kinds:
            raise NoGridLawError(f"kernel: {self.name} asks for no normals, so nothing is spread")
        return kinds

    def __call__(self, x: Floats, z: Floats, uniform: Any = None) -> tuple[Floats, Floats]:
        """Where steps from `x` (m,) with normals `z` (normals, m) lead, and the acceptance rate.

        Without a uniform the smallest one is used, so that the step is the proposal.
        """
        u = np.full(len(x), jnp.finfo(self.dtype).tiny) if uniform is None else uniform
        y, rate = self._map(_stepped, x, z, u)
        return y, rate

    def slopes(self, x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """The proposals, their derivatives by each normal, (normals, m), and the rates."""
        u = np.full(len(x), jnp.finfo(self.dtype).tiny)
        y, slope, rate = self._map(_sloped, x, z, u)
        return y, slope, rate

    def energies(self, x: Floats) -> Floats:
        """The energy at each x."""
        (value,) = self._map(_energies, x)
        return value

    def states(self, x: Floats, z: Floats) -> Floats:
        """How far the state after a step is from the state that `init` makes at its position."""
        u = np.full(len(x), jnp.finfo(self.dtype).tiny)
        (gap,) = self._map(_state_gap, x, z, u)
        return gap

    def turning(self, x: Floats, low: Floats, high: Floats, *, by_rate: bool) -> Floats:
        """The fraction of the way from the normals `low` to `high`, (normals, m), at which the
        outcome changes from that of `low`, if it changes once. The outcome is whether all is
        accepted, or where the step leads."""
        turning = partial(_turning, by_rate=by_rate)
        (share,) = self._map(turning, x, low, high, size=_FEW)
        return share


def _checked_shapes(of: Parted, on: Parted, like: PyTree) -> Any:
    return check_step(resolve_schedules(of.whole, jnp.int32(0)), on.whole, like)


def step_of_one(
    of: Parted, on: Parted, like: PyTree, x: Any, z: Any, u: Any
) -> tuple[Any, Any, Any]:
    """A step from x with normals z and the uniform u: the state, where it is, and the rate."""
    kernel, energy = resolve_schedules(of.whole, jnp.int32(0)), on.whole
    place = trees.unraveler(like)
    normals = iter([place(z[k][None]) for k in range(len(z))])
    made = jax.tree.map(lambda want: next(normals) if want is Want.NORMAL else u, kernel.step_noise)
    state, info = kernel.step(energy, kernel.init(energy, place(x[None]), None), made)
    rate = jnp.ones_like(x) if info.acceptance_rate is None else info.acceptance_rate
    return state, trees.ravel(state.position)[0], rate.astype(x.dtype)


@compiled
def _stepped(of: Parted, on: Parted, like: PyTree, x: Any, z: Any, u: Any) -> tuple[Any, Any]:
    def one(x: Any, z: Any, u: Any) -> tuple[Any, Any]:
        _, y, rate = step_of_one(of, on, like, x, z, u)
        return y, rate

    y, rate = jax.vmap(one, in_axes=-1)(x, z, u)
    return y, rate


@compiled
def _sloped(of: Parted, on: Parted, like: PyTree, x: Any, z: Any, u: Any) -> tuple[Any, Any, Any]:
    def one(x: Any, z: Any, u: Any) -> tuple[Any, Any, Any]:
        def end(z: Any) -> tuple[Any, Any]:
            _, y, rate = step_of_one(of, on, like, x, z, u)
            return y, (y, rate)

        slope, (y, rate) = jax.jacfwd(end, has_aux=True)(z)
        return y, slope, rate

    y, slope, rate = jax.vmap(one, in_axes=-1, out_axes=-1)(x, z, u)
    return y, slope, rate


@compiled
def _energies(of: Parted, on: Parted, like: PyTree, x: Any) -> tuple[Any]:
    energy, place = on.whole, trees.unraveler(like)
    return (jax.vmap(lambda x: energy(place(x[None])).astype(x.dtype))(x),)


@compiled
def _state_gap(of: Parted, on: Parted, like: PyTree, x: Any, z: Any, u: Any) -> tuple[Any]:
    def one(x: Any, z: Any, u: Any) -> Any:
        state, _, _ = step_of_one(of, on, like, x, z, u)
        again = resolve_schedules(of.whole, jnp.int32(0)).init(on.whole, state.position, None)
        gap = jnp.zeros_like(x)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
            a, b = jnp.asarray(a).astype(x.dtype), jnp.asarray(b).astype(x.dtype)
            far = jnp.abs(a - b) / (1 + jnp.abs(b))
            gap = jnp.maximum(gap, jnp.max(jnp.where(a == b, 0, far), initial=0))
        return gap

    return (jax.vmap(one, in_axes=-1)(x, z, u),)


@partial(compiled, static_argnames=("by_rate",))
def _turning(
    of: Parted, on: Parted, like: PyTree, x: Any, low: Any, high: Any, *, by_rate: bool
) -> tuple[Any]:
    def one(x: Any, low: Any, high: Any) -> Any:
        tiny = jnp.asarray(jnp.finfo(x.dtype).tiny, x.dtype)

        def outcome(share: Any) -> Any:
            _, y, rate = step_of_one(of, on, like, x, low + share * (high - low), tiny)
            return (rate >= 1).astype(x.dtype) if by_rate else y

        first, last = outcome(jnp.zeros_like(x)), outcome(jnp.ones_like(x))

        def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
            middle = 0.5 * (ends[0] + ends[1])
            value = outcome(middle)
            same = jnp.abs(value - first) < jnp.abs(value - last)
            return jnp.where(same, middle, ends[0]), jnp.where(same, ends[1], middle)

        ends = lax.fori_loop(0, _HALVINGS[by_rate], halve, (jnp.zeros_like(x), jnp.ones_like(x)))
        return 0.5 * (ends[0] + ends[1])

    return (jax.vmap(one, in_axes=-1)(x, low, high),)
