"""A program on small arrays as arithmetic on their elements, as a fused kernel needs it.

A compiler of such kernels keeps whole vectors over chains in registers, and can neither cut out a
part of one nor multiply small matrices. So each element of an array becomes a vector of its own,
over chains. Operations that only move elements are done while the program is made; sums, products
and loops of known length are written out. The operations that are left are elementwise, in the
program's order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from jlangevin.sampling.elements import Elements, known, placed, spread

__all__ = ["NotInRegistersError", "Unrolled"]


class NotInRegistersError(ValueError):
    """A step cannot be arithmetic on elements."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"fused: the step cannot be one fused kernel, because its energy or kernel has {what}; "
            "leave fused out, which runs the same chains"
        )


@dataclasses.dataclass(frozen=True)
class _Complex:
    """A pair of normals; see `noise.Pairs`."""

    real: Any
    imag: Any


_EACH = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil
    convert_element_type cos cosh div eq erf_inv exp exp2 expm1 floor ge gt integer_pow is_finite le
    log log1p logistic lt max min mul ne neg nextafter not or pow rem rsqrt shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor
"""
_MOVED = """
    broadcast_in_dim concatenate dynamic_slice dynamic_update_slice expand_dims gather pad reshape
    rev scatter slice split squeeze stack transpose unstack
"""
_ELEMENTWISE, _MOVES = frozenset(_EACH.split()), frozenset(_MOVED.split())
# Which operands have elements to be moved, if not all have; the other operands say where to.
_DATA = {"dynamic_slice": [0], "dynamic_update_slice": [0, 1], "gather": [0], "scatter": [0, 2]}
_SAME = {"copy", "device_put", "optimization_barrier", "stop_gradient"}
_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call"}
_CALLS |= {"custom_vjp_call", "custom_vjp_call_jaxpr"}
_OURS = {"repeat", "pick", "put", "choose", "aligned", "apart"}  # of `_core.vector_loops`
_FOLDS: dict[str, tuple[Any, Any]] = {
    "reduce_sum": (lax.add_p, 0),
    "reduce_prod": (lax.mul_p, 1),
    "reduce_and": (lax.and_p, True),
    "reduce_or": (lax.or_p, False),
    "reduce_max": (lax.max_p, None),
    "reduce_min": (lax.min_p, None),
}


class Unrolled:
    """Runs programs on elements, with at most `most` operations in all."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most

    def run(self, program: Any, operands: Sequence[Elements]) -> list[Elements]:
        """The results of a closed jaxpr."""
        if not isinstance(program, ClosedJaxpr):  # as `jax.checkpoint` has it
            program = ClosedJaxpr(program, [])
        jaxpr = program.jaxpr
        if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in program.consts):
            raise NotInRegistersError("a key of JAX's random numbers")
        values = dict(zip(jaxpr.constvars, map(known, program.consts), strict=True))
        values |= zip(jaxpr.invars, operands, strict=True)

        def read(atom: Any) -> Elements:
            if isinstance(atom, Literal):
                return known(np.asarray(atom.val, atom.aval.dtype))  # type: ignore[attr-defined]
            return values[atom]

        for equation in jaxpr.eqns:
            found = self.equation(equation, [*map(read, equation.invars)])
            values |= zip(equation.outvars, found, strict=True)
        return [*map(read, jaxpr.outvars)]

    def equation(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        primitive, params = equation.primitive, equation.params
        name, shape = primitive.name, equation.outvars[0].aval.shape
        if name in _ELEMENTWISE:
            return [self.each(partial(self.apply, primitive, **params), shape, *operands)]
        if name in _MOVES:
            return self.moved(equation, operands)
        if name in _SAME:
            return operands
        if name in _FOLDS:
            return [self.folded(*_FOLDS[name], equation, operands[0])]
        if name in _CALLS:
            inner = (params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            return self.run(next(inner), operands)
        if name in _OURS:
            shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
            return self.run(jax.make_jaxpr(partial(primitive.impl, **params))(*shapes), operands)
        own = getattr(self, "_" + name.replace("-", "_"), None)
        if own is None:
            raise NotInRegistersError(
                f"the operation {name}, for which there is no form in registers"
            )
        found: list[Elements] = own(equation, operands)
        return found

    def each(self, function: Callable[..., Any], shape: Any, *operands: Elements) -> Elements:
        """A function of corresponding elements."""
        flat = [np.broadcast_to(x, shape).reshape(-1) for x in operands]
        return placed([function(*given) for given in zip(*flat, strict=True)], shape)

    def apply(self, primitive: Any, *given: Any, **params: Any) -> Any:
        """An operation on elements; if all of them are known, it is done now."""
        if all(isinstance(x, np.generic) for x in given):
            with jax.ensure_compile_time_eval():
                return np.asarray(primitive.bind(*given, **params))[()]
        if primitive in (lax.max_p, lax.min_p) and jnp.issubdtype(given[0].dtype, jnp.floating):
            return self.extreme(primitive, *given)
        self.left -= 1
        if self.left < 0:
            raise NotInRegistersError(f"more than {self.most:,} operations on single elements")
        shape = max((x.shape for x in given), key=len)
        return primitive.bind(*(spread(x, shape) for x in given), **params)

    def extreme(self, primitive: Any, a: Any, b: Any) -> Any:
        """The maximum or minimum of floats, NaN if either is NaN: a card would return the other."""
        beyond = lax.ge_p if primitive is lax.max_p else lax.le_p
        first = self.apply(lax.or_p, self.apply(beyond, a, b), self.apply(lax.ne_p, a, a))
        return self.apply(lax.select_n_p, first, b, a)

    def moved(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        """The result of an operation that only moves elements, found by moving their numbers."""
        primitive, params = equation.primitive, _without_update(equation.params)
        data, given, begin = [], [], 0
        for position, x in enumerate(operands):
            if position in _DATA.get(primitive.name, range(len(operands))):
                numbers = np.arange(begin, begin + x.size, dtype=np.int32)
                data.append(x)
                given.append(numbers.reshape(x.shape))
                begin += x.size
            else:
                given.append(self.index(x))
        with jax.ensure_compile_time_eval():
            found = primitive.bind(*given, **params)
        every = np.concatenate([x.reshape(-1) for x in data])
        places = [*map(np.asarray, found if primitive.multiple_results else [found])]
        if any(np.any((place < 0) | (place >= begin)) for place in places):
            raise NotInRegistersError(f"an index out of range, in {primitive.name}")
        return [every[place.reshape(-1)].reshape(place.shape) for place in places]

    def index(self, x: Elements) -> Any:
        """An array whose elements have to be known."""
        if not all(isinstance(element, np.generic) for element in x.flat):
            raise NotInRegistersError("an index that depends on the chain or on a parameter")
        return np.array(x.tolist(), x.flat[0].dtype if x.size else np.int32).reshape(x.shape)

    def folded(self, primitive: Any, empty: Any, equation: Any, x: Elements) -> Elements:
        """A reduction over some axes, from the first element to the last."""
        axes = equation.params["axes"]
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        out = equation.outvars[0].aval
        rows = x.transpose([*kept, *axes]).reshape(int(np.prod(out.shape)), -1)
        return placed([self.fold(primitive, empty, out.dtype, row) for row in rows], out.shape)

    def fold(self, primitive: Any, empty: Any, dtype: Any, terms: Any) -> Any:
        if not len(terms):
            return np.asarray(empty, dtype)[()]
        total = terms[0]
        for term in terms[1:]:
            total = self.apply(primitive, total, term)
        return total

    # Operations of their own kind, by the name of the primitive.

    def _dot_general(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        (over_left, over_right), (batch_left, batch_right) = equation.params["dimension_numbers"]
        out = equation.outvars[0].aval
        if any(equation.invars[k].aval.dtype != out.dtype for k in (0, 1)):
            raise NotInRegistersError("a product with a result of another dtype")

        def rows(x: Elements, over: Any, batch: Any) -> Elements:
            free = [axis for axis in range(x.ndim) if axis not in (*over, *batch)]
            terms = int(np.prod([x.shape[axis] for axis in over]))
            batches = int(np.prod([x.shape[axis] for axis in batch]))
            return x.transpose([*batch, *free, *over]).reshape(batches, -1, terms)

        def entry(left: Any, right: Any) -> Any:
            terms = [self.apply(lax.mul_p, a, b) for a, b in zip(left, right, strict=True)]
            return self.fold(lax.add_p, 0, out.dtype, terms)

        left, right = (
            rows(operands[0], over_left, batch_left),
            rows(operands[1], over_right, batch_right),
        )
        found = [entry(a, b) for x, y in zip(left, right, strict=True) for a in x for b in y]
        return [placed(found, out.shape)]

    def _select_n(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        def choose(which: Any, *cases: Any) -> Any:
            if isinstance(which, np.generic):
                return cases[int(which)]
            return self.apply(lax.select_n_p, which, *cases)

        return [self.each(choose, equation.outvars[0].aval.shape, *operands)]

    def _clamp(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        def one(low: Any, x: Any, high: Any) -> Any:
            return self.apply(lax.min_p, self.apply(lax.max_p, low, x), high)

        return [self.each(one, equation.outvars[0].aval.shape, *operands)]

    def _iota(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        with jax.ensure_compile_time_eval():
            return [known(equation.primitive.bind(**equation.params))]

    def _complex(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        return [self.each(_Complex, operands[0].shape, *operands)]

    def _real(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        part = equation.primitive.name
        return [self.each(lambda x: getattr(x, part), operands[0].shape, *operands)]

    _imag = _real

    def _platform_index(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        """The platform of a card, also if the kernel is interpreted."""
        platforms = equation.params["platforms"]
        number = next(k for k, named in enumerate(platforms) if named is None or "cuda" in named)
        return [known(np.int32(number))]

    def _cond(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        index, branches = operands[0].item(), equation.params["branches"]
        if isinstance(index, np.generic):
            return self.run(branches[int(index)], operands[1:])
        found, *others = (self.run(branch, operands[1:]) for branch in branches)
        for number, other in enumerate(others, start=1):
            here = self.apply(lax.eq_p, index, np.asarray(number, index.dtype)[()])
            choose = partial(self.apply, lax.select_n_p, here)
            found = [self.each(choose, a.shape, a, b) for a, b in zip(found, other, strict=True)]
        return found

    def _scan(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        params = equation.params
        if "ft_in" in params:  # since JAX 0.12
            first, moving, _ = map(len, params["ft_in"].unpack())
        else:
            first, moving = params["num_consts"], params["num_carry"]
        constants, carry = operands[:first], operands[first : first + moving]
        over = operands[first + moving :]
        steps = range(params["length"])
        made: list[Any] = [None] * len(steps)
        for k in reversed(steps) if params["reverse"] else steps:
            here = [x[k : k + 1].reshape(x.shape[1:]) for x in over]
            after = self.run(params["jaxpr"], [*constants, *carry, *here])
            carry, made[k] = after[: len(carry)], after[len(carry) :]
        shapes = [v.aval.shape for v in equation.outvars[len(carry) :]]
        stacked = [
            placed([e for row in made for e in row[n].flat], shape)
            for n, shape in enumerate(shapes)
        ]
        return [*carry, *stacked]

    def _while(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        params = equation.params
        begin, carried = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        carry = operands[carried:]
        while True:
            (goes_on,) = self.run(params["cond_jaxpr"], [*operands[:begin], *carry])
            if not isinstance(goes_on.item(), np.generic):
                raise NotInRegistersError(
                    "a loop whose length depends on the chain or on a parameter"
                )
            if not goes_on.item():
                return carry
            carry = self.run(params["body_jaxpr"], [*operands[begin:carried], *carry])

    def _scatter_add(self, equation: Any, operands: list[Elements]) -> list[Elements]:
        """Each update is added where a 1 in its place would be added."""
        x, index, updates = operands
        index = self.index(index)
        found = x.reshape(-1).copy()
        for number, update in enumerate(updates.flat):
            one = (np.arange(updates.size) == number).astype(np.int32).reshape(updates.shape)
            with jax.ensure_compile_time_eval():
                params = _without_update(equation.params)
                put = equation.primitive.bind(np.zeros(x.shape, np.int32), index, one, **params)
            for place in np.flatnonzero(np.asarray(put)):
                found[place] = self.apply(lax.add_p, found[place], update)
        return [found.reshape(x.shape)]


def _without_update(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a scatter, for integers."""
    none = {"update_jaxpr": None, "update_consts": ()}
    return params | {name: none[name] for name in none if name in params}
