"""Operations inside of a step by which XLA's CPU backend gets loops along chains, its vector loops.

For that the chains have to be the last axis. Under `jax.vmap` the carry of `lax.fori_loop` has the
mapped axis first, wherever it was. So has what is read or written at an index that is data, and
what combines a number for each chain with an array. `repeat`, `pick`, `put` and `choose` are the
same with the mapped axis last. `aligned` puts it there again, for what follows.

And what is dear must not be inside of a sum over elements, which is no vector loop, nor be computed
again wherever it is used: XLA fuses both. `apart` makes a loop of its own of it.

All are primitives with rules of their own for `vmap`. Whatever else is done with them is done with
the functions of `lax`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.trees import PyTree

__all__ = ["aligned", "apart", "choose", "pick", "put", "repeat"]


def repeat(number: int, body: Callable[[jax.Array, PyTree], PyTree], carry: PyTree) -> PyTree:
    """`lax.fori_loop(0, number, body, carry)`."""
    leaves, structure = jax.tree.flatten(carry)

    def flat(k: jax.Array, *leaves: Any) -> list[Any]:
        return jax.tree.leaves(body(k, jax.tree.unflatten(structure, leaves)))

    return jax.tree.unflatten(structure, _repeat(number, flat, leaves))


def pick(x: jax.Array, k: ArrayLike) -> jax.Array:
    """`x[..., k]`."""
    found: jax.Array = _pick.bind(x, jnp.asarray(k, jnp.int32), axis=x.ndim - 1)[0]
    return found


def put(x: jax.Array, value: jax.Array, k: ArrayLike) -> jax.Array:
    """`x` with `value` for `x[..., k]`."""
    found: jax.Array = _put.bind(x, value, jnp.asarray(k, jnp.int32), axis=x.ndim - 1)[0]
    return found


def choose(chosen: jax.Array, new: Any, old: Any) -> jax.Array:
    """`jnp.where`; `chosen` and either of the others may be scalars."""
    dtype = jnp.result_type(new, old)
    shape = jnp.broadcast_shapes(jnp.shape(new), jnp.shape(old), jnp.shape(chosen))
    new, old = (jnp.broadcast_to(jnp.asarray(x, dtype), shape) for x in (new, old))
    found: jax.Array = _choose.bind(chosen, new, old)[0]
    return found


def aligned(tree: PyTree) -> PyTree:
    """`tree`, as it is."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, _aligned.bind(*leaves))


def apart(function: Callable[..., jax.Array], first: jax.Array, *others: jax.Array) -> jax.Array:
    """`function(first, *others)`, elementwise and like `first`, in a loop of its own on the CPU.

    The loop runs once, which XLA cannot know; any other barrier it removes on the CPU.
    """
    made = jax.make_jaxpr(function)(first, *others)
    operands = [*made.jaxpr.invars, *made.jaxpr.constvars]
    jaxpr = ClosedJaxpr(made.jaxpr.replace(constvars=[], invars=operands), [])
    found: jax.Array = _apart.bind(first, *others, *made.consts, jaxpr=jaxpr)[0]
    return found


def _repeat(number: int, body: Callable[..., list[Any]], carry: Sequence[Any]) -> list[Any]:
    """Of arrays. What the body closes over are operands of the primitive too."""
    made = jax.make_jaxpr(body)(jnp.int32(0), *carry)
    operands = [*made.jaxpr.constvars, *made.jaxpr.invars]
    jaxpr = ClosedJaxpr(made.jaxpr.replace(constvars=[], invars=operands), [])
    found: list[Any] = _loop.bind(
        *made.consts, *carry, jaxpr=jaxpr, number=number, num_constants=len(made.consts)
    )
    return found


def _fori_loop(*operands: Any, jaxpr: Any, number: int, num_constants: int) -> list[Any]:
    constants, carry = operands[:num_constants], operands[num_constants:]

    def body(k: jax.Array, carry: list[Any]) -> list[Any]:
        # The counter of `lax` has 64 bits where integers have by default.
        after: list[Any] = jaxpr_as_fun(jaxpr)(*constants, k.astype(jnp.int32), *carry)
        return after

    return lax.fori_loop(0, number, body, list(carry))


def _map_loop(
    operands: Sequence[Any], axes: Sequence[Any], *, jaxpr: Any, number: int, num_constants: int
) -> tuple[list[Any], list[int]]:
    """The loop over arrays whose last axis is the mapped one; all of the carry has it."""
    size = _number_of_chains(operands, axes)
    constants = _mapped_last(operands[:num_constants], axes[:num_constants])
    carry = _all_mapped_last(operands[num_constants:], axes[num_constants:], size)
    over = [None if axis is None else -1 for axis in axes[:num_constants]]
    each = jax.vmap(
        jaxpr_as_fun(jaxpr), in_axes=(*over, None, *[-1] * len(carry)), out_axes=-1, axis_size=size
    )
    after = _repeat(number, lambda k, *carry: each(*constants, k, *carry), carry)
    return after, [x.ndim - 1 for x in after]


def _read(x: jax.Array, k: jax.Array, *, axis: int) -> list[jax.Array]:
    return [lax.dynamic_index_in_dim(x, k, axis, keepdims=False)]


def _write(x: jax.Array, value: jax.Array, k: jax.Array, *, axis: int) -> list[jax.Array]:
    return [lax.dynamic_update_index_in_dim(x, value, k, axis)]


def _map_index(
    operands: Sequence[Any], axes: Sequence[Any], *, axis: int, primitive: Any, function: Any
) -> tuple[list[Any], list[int]]:
    """Of `pick` and `put`, whose last operand is the index."""
    if axes[-1] is not None:  # each chain has an index of its own
        index = partial(function, axis=axis)
        found = jax.vmap(index, in_axes=tuple(axes), out_axes=-1)(*operands)
    else:
        *arrays, k = operands
        found = primitive.bind(
            *_all_mapped_last(arrays, axes[:-1], _number_of_chains(operands, axes)), k, axis=axis
        )
    return found, [found[0].ndim - 1]


def _select(chosen: jax.Array, new: jax.Array, old: jax.Array) -> list[jax.Array]:
    # With the chains last, what there is of `chosen` belongs to the last axes.
    over = tuple(range(new.ndim - chosen.ndim, new.ndim))
    return [lax.select(lax.broadcast_in_dim(chosen, new.shape, over), new, old)]


def _map_choice(operands: Sequence[Any], axes: Sequence[Any]) -> tuple[list[Any], list[int]]:
    found = _choose.bind(*_all_mapped_last(operands, axes, _number_of_chains(operands, axes)))
    return found, [found[0].ndim - 1]


def _all_mapped_last(operands: Sequence[Any], axes: Sequence[Any], size: int) -> list[Any]:
    """Also those that are the same for all chains."""
    return [
        jnp.broadcast_to(x[..., None], (*x.shape, size)) if axis is None else x
        for x, axis in zip(_mapped_last(operands, axes), axes, strict=True)
    ]


def _same(*operands: Any) -> list[Any]:
    return list(operands)


def _in_rows(*operands: Any) -> list[Any]:
    return [with_layout_constraint(x, Layout(tuple(range(x.ndim)))) for x in operands]


def _map_aligned(
    operands: Sequence[Any], axes: Sequence[Any]
) -> tuple[list[Any], list[int | None]]:
    found = _aligned.bind(*_mapped_last(operands, axes))
    return found, [
        None if axis is None else x.ndim - 1 for x, axis in zip(found, axes, strict=True)
    ]


def _at_once(*operands: Any, jaxpr: Any) -> list[Any]:
    found: list[Any] = jaxpr_as_fun(jaxpr)(*operands)
    return found


def _in_loop(first: jax.Array, *others: Any, jaxpr: Any) -> list[Any]:
    if not first.size:
        return _at_once(first, *others, jaxpr=jaxpr)
    some = lax.slice(first, [0] * first.ndim, [1] * first.ndim).reshape(())
    once = 1 + hidden_zero(jnp.abs(some)).astype(jnp.uint32)

    def body(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        turn, first = carry

        def of_turn(x: Any) -> Any:
            """`x`; what is the same in every turn XLA would compute before the loop."""
            real = x.ndim and jnp.issubdtype(x.dtype, jnp.floating)
            return separately_rounded(x, turn >> jnp.uint32(31)) if real else x

        (after,) = _in_rows(*_at_once(first, *map(of_turn, others), jaxpr=jaxpr))
        return turn + 1, after

    return [lax.while_loop(lambda carry: carry[0] < once, body, (jnp.uint32(0), first))[1]]


def _map_apart(
    operands: Sequence[Any], axes: Sequence[Any], *, jaxpr: Any
) -> tuple[list[Any], list[int]]:
    size = _number_of_chains(operands, axes)
    (first,) = _all_mapped_last(operands[:1], axes[:1], size)
    others = _mapped_last(operands[1:], axes[1:])
    shape = first.shape[:-1]

    def each(first: Any, *others: Any) -> Any:
        # What is the same for all chains is spread here, as operands are arrays in memory.
        alike = [
            _all_mapped_last([x], [None], size)[0] if axis is None and x.shape == shape else x
            for x, axis in zip(others, axes[1:], strict=True)
        ]
        over = [
            None if axis is None and x.shape != shape else -1
            for x, axis in zip(others, axes[1:], strict=True)
        ]
        mapped = jax.vmap(jaxpr_as_fun(jaxpr), (-1, *over), -1, axis_size=size)
        return mapped(first, *alike)[0]

    found = apart(each, first, *others)
    return [found], [found.ndim - 1]


def _derivatives_apart(primals: Any, tangents: Any, *, jaxpr: Any) -> tuple[Any, Any]:
    """What is differentiated is still apart; its derivative is not."""
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    _, after = jax.jvp(partial(_at_once, jaxpr=jaxpr), tuple(primals), tangents)
    return _apart.bind(*primals, jaxpr=jaxpr), after


def _number_of_chains(operands: Sequence[Any], axes: Sequence[Any]) -> int:
    sizes = (x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    return int(next(sizes))


def _mapped_last(operands: Sequence[Any], axes: Sequence[Any]) -> list[Any]:
    return [
        x if axis is None else jnp.moveaxis(x, axis, -1)
        for x, axis in zip(operands, axes, strict=True)
    ]


def _primitive(name: str, function: Callable[..., list[Any]], mapped: Any) -> Primitive:
    """`function` as a primitive with a rule of its own for `vmap`."""

    def shapes(*operands: Any, **static: Any) -> tuple[list[Any], Any]:
        made = jax.make_jaxpr(partial(function, **static))(*operands)
        return made.out_avals, made.effects

    def derivatives(primals: Any, tangents: Any, **static: Any) -> tuple[Any, Any]:
        tangents = tuple(map(ad.instantiate_zeros, tangents))
        return jax.jvp(partial(function, **static), tuple(primals), tangents)

    made = Primitive(name)
    made.multiple_results = True
    made.def_impl(function)
    made.def_effectful_abstract_eval(shapes)
    batching.primitive_batchers[made] = mapped
    ad.primitive_jvps[made] = derivatives
    mlir.register_lowering(made, mlir.lower_fun(function))
    return made


_loop = _primitive("repeat", _fori_loop, _map_loop)
_pick: Primitive = _primitive(
    "pick",
    _read,
    lambda *given, axis: _map_index(*given, axis=axis, primitive=_pick, function=_read),
)
_put: Primitive = _primitive(
    "put",
    _write,
    lambda *given, axis: _map_index(*given, axis=axis, primitive=_put, function=_write),
)
_aligned: Primitive = _primitive("aligned", _same, _map_aligned)
mlir.register_lowering(_aligned, mlir.lower_fun(_in_rows), platform="cpu")
_choose = _primitive("choose", _select, _map_choice)
_apart = _primitive("apart", _at_once, _map_apart)
ad.primitive_jvps[_apart] = _derivatives_apart
mlir.register_lowering(_apart, mlir.lower_fun(_in_loop), platform="cpu")
