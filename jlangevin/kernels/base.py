"""What a kernel is: a deterministic function of state and noise; and its hyper-parameters."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import (
    as_array,
    check_made,
    check_not_negative,
    check_number,
    check_positive,
    check_scalar,
)
from jlangevin._core.each import Each, each, filled, refuse_each, split
from jlangevin._core.trees import MaybeArray, PyTree, pytree_dataclass, static_field
from jlangevin._core.user_code import check_returned, note_on_errors
from jlangevin.energies.base import Energy
from jlangevin.kernels.traits import Traits, layers

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    State = TypeVarWithDefault("State", default=Any)
else:
    State = TypeVar("State")

__all__ = [
    "Hyper",
    "HyperLike",
    "Info",
    "Kernel",
    "Noise",
    "Position",
    "PositionState",
    "Rejections",
    "Schedule",
    "Traits",
    "WithTemperature",
    "cast",
    "check_kernel",
    "check_step",
    "has_schedule",
    "hyperparameter",
    "if_sound",
    "known",
    "layers",
    "position",
    "resolve_schedules",
]

K = TypeVar("K")

Hyper: TypeAlias = Any
"""A hyper-parameter: a number, or a `Schedule` until the driver has put its value there."""

HyperLike: TypeAlias = "ArrayLike | Callable[[jax.Array], ArrayLike] | Schedule | Each"
"""What a hyper-parameter is given as: a number, a function of the step, or `each` of numbers."""

Position: TypeAlias = PyTree
"""Where one chain is: a pytree of floating arrays. A gradient and a velocity are like it."""

Noise: TypeAlias = PyTree
"""What a kernel is given for the wants that it declares, in their structure."""


class PositionState(NamedTuple):
    """The state of a kernel that carries nothing from step to step but the position."""

    position: Position


class Rejections(NamedTuple):
    """How many proposals of a chain could not be weighed and were rejected, by their cause.

    An int32 for each chain. What a step reports in its place is the cause of one rejection, see
    `kernels.metropolis.unweighable`.
    """

    walls: jax.Array  # E = +inf there, or a number beyond the largest float: no fault
    faults: jax.Array  # E is NaN or -inf there, or ∇E is NaN: a fault of the energy
    rounded: jax.Array  # the proposal was rounded onto a wall of its domain: a limit of the dtype
    faulty: jax.Array  # what was NaN, in bits: 1 for the energy, 2 << k for leaf k of its gradient

    @classmethod
    def none(cls, num_chains: int) -> Rejections:
        return cls(*(jnp.zeros(num_chains, jnp.int32) for _ in cls._fields))

    def after(self, cause: jax.Array) -> Rejections:
        """With one more step, in which the cause of each chain was `cause`."""
        fault = cause > ROUNDED
        return Rejections(
            self.walls + (cause == WALL).astype(jnp.int32),
            self.faults + fault.astype(jnp.int32),
            self.rounded + (cause == ROUNDED).astype(jnp.int32),
            self.faulty | jnp.where(fault, cause >> 2, 0),
        )


# The causes of a rejection. Others are FAULT << k: 0 for the energy, k + 1 for leaf k of ∇E.
WALL, ROUNDED, FAULT = 1, 2, 4
LAST_FAULT = 27  # leaves from here on share a bit


class Info(NamedTuple):
    """What a step reports; None where it does not apply, at no cost.

    In `Run.info` each has a leading chain axis: the mean of `acceptance_rate` and the `rejections`,
    over the steps after burn-in; and what the driver adds. `num_divergent` is 1 for a chain that
    turned non-finite, or that ended where its energy is not finite. `first_bad_step` is how many
    steps it had done when it turned non-finite, -1 for the others.
    """

    acceptance_rate: MaybeArray = None
    rejections: PyTree = None
    num_divergent: MaybeArray = None
    first_bad_step: MaybeArray = None


class Kernel(Protocol[State]):
    """One Langevin dynamics. Any pytree with these members is a kernel.

    A kernel draws nothing. `init_noise` and `step_noise` are pytrees of `noise.Want` that say
    what `init` and `step` are to be given (None for nothing); the driver makes it. A state is
    a pytree with a member `position`. One that is not finite has to stay so, as the driver looks
    for such chains at the end of a block and not after every step.

    What else a kernel may say of itself is in `Traits`. Those that `tempered` may wrap also have
    `convert_state(energy, state, other)`: a state of `other`, the same kernel at another
    temperature, made one of its own.
    """

    @property
    def init_noise(self) -> PyTree: ...

    @property
    def step_noise(self) -> PyTree: ...

    def init(self, energy: Energy, position: Position, noise: Noise) -> State:
        """The state of a chain that starts at `position`."""
        ...

    def step(self, energy: Energy, state: State, noise: Noise) -> tuple[State, Info]:
        """The next state, and what is to be reported of the step."""
        ...


class WithTemperature(Kernel[State], Protocol[State]):
    """A kernel with a temperature, a number or a schedule."""

    @property
    def temperature(self) -> Hyper: ...


# Hyper-parameters -----------------------------------------------------------------------------


def cast(value: Hyper, like: jax.Array) -> jax.Array:
    """A hyper-parameter in the dtype of the array that it is to act on."""
    return jnp.asarray(value, like.dtype)


@pytree_dataclass
class Schedule:
    """A hyper-parameter that is a function of the step, as in optax.

    `function` takes the step, an int32 scalar counted from 0, and returns a scalar. Give it as
    a `jax.tree_util.Partial` to keep its parameters traced: a new closure compiles again.
    """

    function: Callable[[jax.Array], ArrayLike]

    def __call__(self, step: jax.Array) -> ArrayLike:
        return self.function(step)


@pytree_dataclass
class CheckedSchedule(Schedule):
    """A schedule of a hyper-parameter that must not be negative: it may end at 0."""

    name: str = static_field(default="schedule")

    def __call__(self, step: jax.Array) -> ArrayLike:
        with note_on_errors(f"by the schedule of {self.name}, given the step as an int32 scalar"):
            value = self.function(step)
        name = f"{self.name}: its schedule at step {step}" if trees.is_concrete(step) else self.name
        check_number(name, value)
        return check_not_negative(name, value)


def hyperparameter(name: str, value: HyperLike, *, zero: bool = False) -> Hyper:
    """`value` checked to be positive, or 0 if `zero`; wrapped as a `Schedule` if a function."""
    function = value.function if isinstance(value, Schedule) else value
    if isinstance(function, type) or (isinstance(value, Schedule) and not callable(function)):
        raise TypeError(f"{name}: expected a number or a function of the step, got {value!r}")
    if callable(function):
        return CheckedSchedule(function, name)
    check = check_not_negative if zero else check_positive
    if isinstance(value, Each):
        return each(check(name, as_array(name, value.rows, ndim=1)))
    return check(name, check_scalar(name, value))


def resolve_schedules(kernel: K, step: jax.Array) -> K:
    """`kernel` with every schedule in it replaced by its value at `step`."""

    def value(leaf: PyTree) -> PyTree:
        return leaf(step) if isinstance(leaf, Schedule) else leaf

    return jax.tree.map(value, kernel, is_leaf=_is_schedule)


def has_schedule(kernel: PyTree) -> bool:
    """Whether any hyper-parameter of `kernel` depends on the step."""
    return any(map(_is_schedule, jax.tree.leaves(kernel, is_leaf=_is_schedule)))


def _is_schedule(leaf: object) -> bool:
    return isinstance(leaf, Schedule)


def position(state: PyTree) -> Position:
    """A kernel state's position: what is observed and reduced if nothing else is asked for."""
    return state.position


def known(
    state: PyTree, name: Literal["energy", "gradient", "energy_change", "velocity"]
) -> PyTree | None:
    """What a state holds beside its position, in members of these names, or None: E and ∇E there,
    the velocity, and by how much the last step changed an energy that it should have kept."""
    return getattr(state, name, None)


def check_kernel(kernel: object, position: PyTree = None) -> None:
    """Raise unless `kernel` has the members of a kernel, and numbers that it can use.

    With a position, which may be shapes and dtypes, schedules are looked at for step 0, and whether
    step size and temperature are numbers in its dtypes. What is traced is not looked at.
    """
    check_made("kernel", kernel)
    missing = [m for m in ("init_noise", "step_noise", "init", "step") if not hasattr(kernel, m)]
    if missing:
        raise TypeError(
            f"kernel: {kernel!r} is not a kernel (it lacks {', '.join(missing)}); "
            "pass for instance jlangevin.ula(step_size=0.01)"
        )
    if position is None:
        return
    for leaf in jax.tree.leaves(kernel, is_leaf=_is_schedule):
        if isinstance(leaf, CheckedSchedule) and trees.is_concrete(leaf):
            _check_schedule(leaf)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(position)}
    for layer, name in itertools.product(layers(kernel), ("step_size", "temperature")):
        value: Hyper = getattr(layer, name, None)
        value = value.rows if isinstance(value, Each) else value
        if trees.is_array(value) and trees.is_concrete(value):
            for dtype in dtypes:
                _check_in_range(name, value, dtype)


def _check_schedule(schedule: CheckedSchedule) -> None:
    """Raise unless its value at step 0, or that of each chain, can be used."""
    (apart,), rows = split(schedule)
    if not rows:
        schedule(jnp.int32(0))
        return

    def one(rows: PyTree) -> jax.Array:
        whole = filled(apart, rows)
        whole(jnp.int32(0))  # raises if it is not a number
        return whole.function(jnp.int32(0))

    check_not_negative(f"{schedule.name}: its schedule at step 0", jax.vmap(one)(rows))


def _check_in_range(name: str, value: ArrayLike, dtype: np.dtype) -> None:
    """Raise if a value other than 0 is 0 in another dtype, where the smallest are, or infinite."""
    what = _number_becomes(value, dtype) if type(value) is float else _becomes(value, dtype)
    if what is not None:
        raise ValueError(
            f"{name}: {value} is {what} in {dtype}, which the positions have; take another unit of "
            "length or energy, or positions of a wider dtype"
        )


def _becomes(value: ArrayLike, dtype: np.dtype) -> str | None:
    """What a value becomes in another dtype that cannot hold it."""
    with np.errstate(over="ignore"):
        there = np.asarray(value).astype(dtype)
    if np.any((np.abs(there) < jnp.finfo(dtype).tiny) & (np.asarray(value) != 0)):
        return "0"
    return "infinite" if np.any(np.isinf(there)) else None


_number_becomes = functools.lru_cache(_becomes)  # as kernels are checked in each run of a loop


def check_step(kernel: Kernel, energy: Energy, position: PyTree) -> tuple[PyTree, Info]:
    """`init` and `step` on shapes alone, at a position like `position`.

    Returns:
        The state, and what a step reports, as shapes.

    Raises:
        TypeError, ValueError: wants that are not `Want`s; a state without a position like the one
            it was made from; a step that does not return a pair of a state like the one it was
            given and an `Info`. Errors of the kernel's own have a note that says what it was given.
    """
    refuse_each("here it runs without a chain; put in the value of one", kernel=kernel)
    wants = kernel.init_noise, kernel.step_noise
    made = [noise.shapes(want, position) for want in wants]

    def both(x: PyTree, z0: PyTree, z1: PyTree) -> tuple[PyTree, tuple[PyTree, Info]]:
        with note_on_errors(
            f"by the kernel's init, given position and noise {trees.shown((x, z0))}"
        ):
            state = kernel.init(energy, x, z0)
        if not hasattr(state, "position"):
            raise TypeError(
                "kernel: its state needs a member `position`, as a NamedTuple has; init returned "
                f"{trees.shown(state)}"
            )
        with note_on_errors(
            f"by the kernel's step, given state and noise {trees.shown((state, z1))}"
        ):
            stepped = kernel.step(energy, state, z1)
        if not (isinstance(stepped, tuple) and len(stepped) == 2 and isinstance(stepped[1], Info)):
            raise TypeError(
                "kernel: its step is to return a pair, the next state and jlangevin.Info(), got "
                f"{type(stepped).__name__}"
            )
        check_returned("kernel: init", "position and noise", state)
        check_returned("kernel: step", "state and noise", stepped)
        return state, stepped

    before, (after, info) = jax.eval_shape(both, position, *made)
    trees.assert_like(
        "kernel",
        before.position,
        trees.struct(position),
        "like the position that init was given, in its state",
        dtypes=True,
    )
    trees.assert_like("kernel", after, before, "like the state from init, from step", dtypes=True)
    for name in ("acceptance_rate", "rejections"):
        reported = getattr(info, name)
        if reported is not None and getattr(reported, "shape", None) != ():
            raise ValueError(
                f"kernel: the {name} that its step reports is to be one number, or None; got "
                f"{trees.shown(reported)}"
            )
    return before, info


def if_sound(kernel: PyTree, state: PyTree) -> PyTree:
    """`state`, a position for instance, or NaN if anything in `kernel` is NaN.

    Traced values are, that would be refused. Kernels that reject what is not finite would reject
    all from then on, and stand still. The driver refuses such a start, or counts its chains as
    divergent.
    """
    numbers = [leaf for leaf in jax.tree.leaves(kernel) if trees.is_array(leaf)]
    sound = jnp.array(True)
    for leaf in numbers:
        sound &= ~jnp.any(jnp.isnan(leaf))

    def keep(leaf: jax.Array) -> jax.Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.where(sound, leaf, jnp.nan) if floating else leaf

    return jax.tree.map(keep, state)
