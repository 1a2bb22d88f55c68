"""All steps of a run as one kernel on a card, with the chains' states in registers.

The steps and the noise are those of `Paired`, traced for a single chain and taken apart into
elements (`unrolled`). Each instance of a Pallas kernel runs them for a tile of chains. Nothing goes
through the card's memory between the first step and the last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from jlangevin._core.trees import Parted, PyTree
from jlangevin.kernels.leimkuhler_matthews import LeimkuhlerMatthews
from jlangevin.kernels.mala import MALA
from jlangevin.kernels.malt import MALT
from jlangevin.kernels.tamed_ula import TamedULA
from jlangevin.kernels.ula import ULA
from jlangevin.kernels.underdamped import Underdamped
from jlangevin.sampling.elements import Elements, Rows, narrow, placed, spread, wide
from jlangevin.sampling.health import Health
from jlangevin.sampling.paired import Paired
from jlangevin.sampling.state import Plan, SamplerState, Setup, StepRange
from jlangevin.sampling.steps import Carry
from jlangevin.sampling.unrolled import Unrolled

__all__ = ["CHOSEN_BY_ITSELF", "Fused", "FusedSpec", "refusal"]

# Whether a run on a card becomes a fused kernel by itself if it can. Leave this off until the tests
# and the table of `benchmarks/throughput.py --accelerator` have been seen on a card.
CHOSEN_BY_ITSELF = False

_KERNELS = (LeimkuhlerMatthews, MALA, MALT, TamedULA, ULA, Underdamped)

# Not tuned, as no card has run it.
_TILE = 128  # chains in an instance, one for each thread
_MOST_OPERATIONS = 8_000  # on elements, in two steps; the time to compile grows with the square


class FusedSpec(NamedTuple):
    """The static part of a plan: the places of its first and last steps in their pairs."""

    odd: bool  # the first step is the second of a pair
    rest: bool  # the last step is the first of a pair
    interpreted: bool  # whether it runs by JAX's own operations, on any device

    @classmethod
    def of(cls, plan: Plan, parity: int) -> FusedSpec:
        total = plan.burn_in + plan.num_steps
        odd = parity == 1 and total > 0
        return cls(odd, (total - odd) % 2 == 1, plan.fused == "interpret")

    @property
    def loop(self) -> type[Fused]:
        return Fused


def refusal(state: SamplerState, setup: Setup, plan: Plan, device: jax.Device) -> str | None:
    """Why a run cannot be a fused kernel, as far as is known before it is traced; else None."""
    if setup.observe.whole is not None or jax.tree.leaves(state.reducers):
        return "it keeps only the last states; pass observe=None and no reducers"
    kernel = setup.kernel.whole
    if type(kernel) not in _KERNELS:
        names = ", ".join(kind.__name__ for kind in _KERNELS)
        return f"the kernel has to be one of {names}, got {type(kernel).__name__}"
    if plan.remat:
        return "it has no derivative, which remat=True is for"
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(state.kernel.position)}
    if not dtypes <= {np.dtype("float32"), np.dtype("float64")}:
        return f"positions have to be float32 or float64, got {', '.join(map(str, dtypes))}"
    if plan.fused != "interpret" and device.platform != "gpu":
        return (
            f"it is for GPUs, and the chains are on a {device.platform.upper()}; leave it out, or "
            'pass fused="interpret" to see on any device what it computes'
        )
    return None


class Given(NamedTuple):
    """The inputs of steps, by their layout."""

    shared: PyTree  # the same for all chains
    own: PyTree  # each chain's own, which does not change; its last axis counts chains
    step: Any
    moving: PyTree  # each chain's own, which the steps change; its last axis counts chains


@dataclasses.dataclass(frozen=True)
class Fused(Paired):
    """Steps in a fused kernel."""

    @classmethod
    def run(
        cls, state: SamplerState, setup: Setup, step_range: StepRange, *, how: Any, careful: bool
    ) -> tuple[PyTree, SamplerState, Health]:
        """No draws, the state afterwards, and the health of the chains."""
        steps, carry = cls.begin(state, setup, step_range, thin=1, careful=careful, remat=False)
        assert not steps.records
        return None, *steps.end(steps.fused(carry, how))

    def fused(self, carry: Carry, how: FusedSpec) -> Carry:
        """The carry after all steps."""
        tally, nothing = carry.tally, Parted.of(None)
        setup = self.setup._replace(rows=nothing, reducers=nothing, observe=nothing)
        # The counts of the whole run have their final values already.
        known: Any = {"num_steps": None, "num_draws": None}
        moving = carry.kernel, tally._replace(**known)
        given = Given((setup, self.step_range), (self.rows, self.streams), carry.step, moving)
        parts = _Parts(
            self.traced(partial(Fused.one, odd=1), given) if how.odd else None,
            self.traced(Fused.both, given),
            self.traced(partial(Fused.one, odd=0), given) if how.rest else None,
        )
        ends = jnp.asarray(self.step_range.ends, jnp.int32)
        pairs = (ends - carry.step - np.int32(how.odd)) >> 1
        kernel, moved = _call(parts, given, pairs, interpret=how.interpreted)
        moved = moved._replace(num_steps=tally.num_steps, num_draws=tally.num_draws)
        return Carry(ends, kernel, moved, carry.reducers)

    def traced(self, advance: Callable[[Any, Carry], Carry], given: Given) -> _Part:
        """The program of `advance` for a single chain; it returns the parts that move."""

        def moved(given: Given) -> PyTree:
            (setup, step_range), (rows, streams), step, (kernel, tally) = given
            steps = dataclasses.replace(
                self, setup=setup, step_range=step_range, rows=rows, streams=streams
            )
            after = advance(steps, Carry(step, kernel, tally, None))
            return after.kernel, after.tally

        alone = given._replace(
            own=jax.tree.map(_of_one_chain, given.own),
            moving=jax.tree.map(_of_one_chain, given.moving),
        )
        made = jax.make_jaxpr(moved)(jax.tree.map(_shape, alone))
        return _parted(made, jax.tree.leaves(given.shared))


class _Part(NamedTuple):
    """A program for one chain, and its first operands: values that all chains and steps share."""

    program: Any
    values: list[jax.Array]


class _Parts(NamedTuple):
    """A step before the whole pairs, a pair, and a step after them."""

    odd: _Part | None
    pair: _Part
    rest: _Part | None

    @property
    def values(self) -> list[list[jax.Array]]:
        return [part.values if part else [] for part in self]


def _parted(made: Any, shared: list[Any]) -> _Part:
    """A program whose first operands are `shared`, without operations that need only these.

    Those are done once, before the kernel, and not by each chain in each step.
    """
    jaxpr = made.jaxpr
    given, constants = jaxpr.invars[: len(shared)], {*jaxpr.constvars}
    ready: set[Any] = {*given}
    before: list[Any] = []
    within: list[Any] = []
    for equation in jaxpr.eqns:
        inputs = {x for x in equation.invars if not isinstance(x, Literal)}
        # Operations on constants alone stay inside: there an index among them is known.
        is_ready = bool(inputs & ready) and inputs <= ready | constants
        (before if is_ready else within).append(equation)
        ready.update(equation.outvars if is_ready else ())
    used = [x for equation in within for x in equation.invars] + jaxpr.outvars
    passed = [*dict.fromkeys(x for x in used if not isinstance(x, Literal) and x in ready)]
    names = jaxpr.debug_info.with_unknown_names()
    first = jaxpr.replace(invars=given, eqns=before, outvars=passed, debug_info=names)
    others = jaxpr.invars[len(shared) :]
    rest = jaxpr.replace(invars=[*passed, *others], eqns=within, debug_info=names)
    values = jaxpr_as_fun(ClosedJaxpr(first, made.consts))(*shared)
    return _Part(ClosedJaxpr(rest, made.consts), values)


def _call(parts: _Parts, given: Given, pairs: jax.Array, *, interpret: bool) -> PyTree:
    """The parts that move, after a kernel for all chains."""
    # Imported here, as it takes long and no other run needs it.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    values = parts.values
    shared = [pairs, given.step, *(value for part in values for value in part)]
    own = jax.tree.leaves(given.own)
    moving, structure = jax.tree.flatten(given.moving)
    numbers = [wide(leaf).reshape(-1) for leaf in shared]
    begun, ended = Rows.of([*own, *moving], _TILE), Rows.of(moving, _TILE)
    tiles = begun.words[0].shape[1] // _TILE

    def kernel(*refs: Any) -> None:
        ends = len(numbers), len(numbers) + len(begun.words)
        for_all, words, results = refs[: ends[0]], refs[ends[0] : ends[1]], refs[ends[1] :]
        count, step, *rest = map(_loaded, for_all, shared)
        lanes = begun.elements([ref[...] for ref in words])
        each = iter(rest)
        constants = [[*(next(each) for _ in part), *lanes[: len(own)]] for part in values]
        ending = _run(parts, constants, count.item(), step.item(), lanes[len(own) :])
        for ref, block in zip(results, ended.blocks(ending), strict=True):
            ref[...] = block

    def tile(words: jax.Array) -> Any:
        return pl.BlockSpec((len(words), _TILE), lambda i: (0, i))

    found = pl.pallas_call(
        kernel,
        grid=(tiles,),
        in_specs=[
            *(pl.BlockSpec(x.shape, lambda i: (0,)) for x in numbers),
            *map(tile, begun.words),
        ],
        out_specs=[*map(tile, ended.words)],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in ended.words],
        compiler_params=triton.CompilerParams(num_warps=_TILE // 32, num_stages=1),
        interpret=interpret,
        name="fused_steps",
    )(*numbers, *begun.words)
    return jax.tree.unflatten(structure, ended.unpacked(found))


def _run(
    parts: _Parts,
    constants: Sequence[list[Elements]],
    pairs: Any,
    step: Any,
    moving: list[Elements],
) -> list[Elements]:
    """The parts that move, after all steps of a tile of chains."""

    def advance(number: int, step: Any, moving: list[Elements]) -> list[Elements]:
        part = parts[number]
        if part is None:
            return moving
        operands = [*constants[number], placed([step], ()), *moving]
        after = Unrolled(_MOST_OPERATIONS).run(part.program, operands)
        return [placed([spread(e, (_TILE,)) for e in x.flat], x.shape) for x in after]

    def pair(_: Any, carry: Any) -> Any:
        step, *flat = carry
        return step + np.int32(2), *_flat(advance(1, step, _like(moving, flat)))

    moving = advance(0, step, moving)
    step = step + np.int32(parts.odd is not None)
    step, *flat = lax.fori_loop(np.int32(0), pairs, pair, (step, *_flat(moving)))
    return advance(2, step, _like(moving, flat))


def _flat(arrays: Iterable[Elements]) -> list[Any]:
    return [element for x in arrays for element in x.flat]


def _like(arrays: Iterable[Elements], flat: Sequence[Any]) -> list[Elements]:
    """A flat sequence of elements in the shapes of `arrays`."""
    rest = iter(flat)
    return [placed([next(rest) for _ in range(x.size)], x.shape) for x in arrays]


def _loaded(ref: Any, leaf: Any) -> Elements:
    """The elements of a leaf that all chains share."""
    shape, dtype = jnp.shape(leaf), jnp.asarray(leaf).dtype
    return placed([narrow(ref[k], dtype) for k in range(math.prod(shape))], shape)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    leaf = jnp.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=leaf.weak_type)


def _of_one_chain(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*leaf.shape[:-1], 1), leaf.dtype)
