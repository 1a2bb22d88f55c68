"""`jax.vmap` over the last axis that leaves it the last.

Where a step combines arrays of elements with a number for each chain, or with an array that is the
same for all chains, the rules of `jax.vmap` put the mapped axis first. XLA's CPU backend has vector
loops along the last axis only, and makes the transposes there and back a part of dear loops. So the
operations that work element by element have rules here by which the axis stays. For all others, and
for derivatives of what has rules of its own, there is `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

__all__ = ["over_chains", "over_last"]

_ELEMENTWISE = frozenset(
    (  # noqa: SIM905
        "abs acos acosh add and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clz "
        "complex conj convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 "
        "expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul "
        "ne neg nextafter not or population_count pow real rem round rsqrt select_n shift_left "
        "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor"
    ).split()
)


def over_chains(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function, in_axes=-1, out_axes=-1)`.

    It is that where each chain has a key of its own: JAX follows the parts of a key that are used,
    and could not, if each operation were mapped alone.
    """

    def mapped(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves):
            return jax.vmap(function, in_axes=-1, out_axes=-1)(*args)
        one = jax.tree.map(_of_one, args)
        made, shapes = jax.make_jaxpr(function, return_shape=True)(*one)
        after = over_last(made, [True] * len(leaves), leaves[0].shape[-1])(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), after)

    return mapped


def over_last(jaxpr: Any, mapped: Sequence[bool], size: int) -> Callable[..., list[Any]]:
    """A function of the operands of `jaxpr`, those that are mapped with a last axis of `size`."""

    def call(*operands: Any) -> list[Any]:
        given = zip(operands, mapped, strict=True)
        found = _evaluate(jaxpr.jaxpr, jaxpr.consts, list(given), size)
        return [_with_axis(x, has, x.shape[: x.ndim - has], size) for x, has in found]

    return call


def _of_one(leaf: Any) -> jax.ShapeDtypeStruct:
    weak = getattr(leaf, "weak_type", False)
    return jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype, weak_type=weak)


# Of each value: itself, and whether it has the axis.
_Value = tuple[Any, bool]


def _evaluate(jaxpr: Any, consts: Sequence[Any], given: list[_Value], size: int) -> list[_Value]:
    known: dict[Any, _Value] = {}

    def read(var: Any) -> _Value:
        return (var.val, False) if isinstance(var, Literal) else known[var]

    known.update(zip(jaxpr.constvars, [(const, False) for const in consts], strict=True))
    known.update(zip(jaxpr.invars, given, strict=True))
    for eqn in jaxpr.eqns:
        with eqn.ctx.manager:
            found = _apply(eqn, list(map(read, eqn.invars)), size, jaxpr)
        known.update(zip(eqn.outvars, found, strict=True))
    return list(map(read, jaxpr.outvars))


def _apply(eqn: Any, given: list[_Value], size: int, jaxpr: Any) -> list[_Value]:
    name, params = eqn.primitive.name, eqn.params
    if name in ("jit", "pjit") and any(has for _, has in given):
        return _evaluate(params["jaxpr"].jaxpr, params["jaxpr"].consts, given, size)
    if name in _ELEMENTWISE and _is_elementwise(eqn) and any(has for _, has in given):
        shape = eqn.outvars[0].aval.shape
        placed = [_with_axis(x, has, shape, size) for x, has in given]
        return [(eqn.primitive.bind(*placed, **params), True)]
    if name == "broadcast_in_dim" and len(given) == 1 and given[0][1]:
        shape, over = params["shape"], params["broadcast_dimensions"]
        return [(lax.broadcast_in_dim(given[0][0], (*shape, size), (*over, len(shape))), True)]
    constant = [isinstance(var, Literal) for var in eqn.invars]
    operands = [value for value, known in zip(given, constant, strict=True) if not known]
    values, mapped = [x for x, _ in operands], [has for _, has in operands]
    function = _as_function(eqn, jaxpr)
    if not any(mapped):
        return [(x, False) for x in function(*values)]
    by_jax = jax.vmap(function, [-1 if has else None for has in mapped], -1, axis_size=size)
    if name != "custom_jvp_call":
        return [(x, True) for x in by_jax(*values)]
    inner = over_last(params["call_jaxpr"], [has for _, has in given], size)

    # Its value by the rules here, its derivatives by its own.
    @jax.custom_jvp
    def both(*values: Any) -> list[Any]:
        rest = iter(values)
        each = [x if known else next(rest) for (x, _), known in zip(given, constant, strict=True)]
        return inner(*each)

    both.defjvp(lambda primals, tangents: jax.jvp(by_jax, primals, tangents))
    return [(x, True) for x in both(*values)]


def _as_function(eqn: Any, jaxpr: Any) -> Callable[..., list[Any]]:
    """An equation as a function of those of its operands that are no literals."""
    operands = [var for var in eqn.invars if not isinstance(var, Literal)]
    alone = jaxpr.replace(constvars=[], invars=operands, outvars=eqn.outvars, eqns=[eqn])
    function: Callable[..., list[Any]] = jaxpr_as_fun(ClosedJaxpr(alone, []))
    return function


def _is_elementwise(eqn: Any) -> bool:
    """Whether all operands are like the result, or numbers."""
    shape = eqn.outvars[0].aval.shape
    return all(var.aval.shape in ((), shape) for var in eqn.invars)


def _with_axis(x: Any, mapped: bool, shape: tuple[int, ...], size: int) -> jax.Array:
    """`x`, which is of that shape or a number, with the axis."""
    whole = (*shape, size)
    if jnp.shape(x) == whole and mapped:
        return x
    first = len(shape) if mapped else 0
    over = tuple(range(first, first + jnp.ndim(x)))
    return lax.broadcast_in_dim(jnp.asarray(x), whole, over)
