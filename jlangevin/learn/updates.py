"""The compiled program of a training loop: some updates, until one is not finite."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin._core.user_code import note_on_errors
from jlangevin.learn.base import Aux, count
from jlangevin.learn.model import Parameters, Places, with_parameters

__all__ = ["Outcome", "TrainingState", "Work", "begin", "updates"]

RESERVED = ("loss", "gradient_norm")


class TrainingState(NamedTuple):
    """All that the next update needs."""

    step: jax.Array  # int32, updates done
    parameters: Parameters
    optimizer: PyTree
    buffer: PyTree


class Outcome(NamedTuple):
    """The result of a program of updates."""

    state: TrainingState  # after the last update that was finite
    metrics: dict[str, jax.Array]  # (1, capacity) each, of which the first `num_tried` count
    num_tried: jax.Array  # one more than were done if the last was not finite


# The state, what is recorded, updates tried, and whether the last was finite.
_Loop = tuple[TrainingState, dict[str, jax.Array], jax.Array, jax.Array]


class Work(NamedTuple):
    """What to do, each part split into what is traced and what is static."""

    energy: Parted
    loss: Parted
    optimizer: Parted


@compiled
def begin(parameters: Parameters, optimizer: Parted, buffer: PyTree) -> TrainingState:
    """The state before the first update."""
    with _allowing_promotion():
        began = optimizer.whole.init(parameters)
    return TrainingState(jnp.int32(0), parameters, began, buffer)


@partial(compiled, static_argnames=("places", "batch_size", "capacity"))
def updates(
    key: jax.Array,
    state: TrainingState,
    data: PyTree,
    work: Work,
    number: ArrayLike,
    *,
    places: Places,
    batch_size: int | None,
    capacity: int,
) -> Outcome:
    """`number` updates, at most `capacity`; none after one that is not finite.

    The randomness of update t depends on (key, t) alone, so neither blocks nor a stop and a new
    start change it.
    """
    loss, optimizer = work.loss.whole, work.optimizer.whole

    def objective(
        parameters: Parameters, key: jax.Array, batch: PyTree, buffer: PyTree
    ) -> tuple[jax.Array, Aux]:
        energy = with_parameters(work.energy, places, parameters)
        given = (key, energy, batch) if buffer is None else (key, energy, batch, buffer)
        with note_on_errors("by the loss, given a key, the energy and a batch"):
            returned = loss(*given)
        return _checked(returned, buffer)

    def one(state: TrainingState) -> tuple[TrainingState, dict[str, jax.Array], jax.Array]:
        for_batch, for_loss = jax.random.split(jax.random.fold_in(key, state.step))
        batch = _drawn(for_batch, data, batch_size)
        differentiated = jax.value_and_grad(objective, has_aux=True)
        (value, aux), slopes = differentiated(state.parameters, for_loss, batch, state.buffer)
        norm = _norm(slopes)
        fine = jnp.isfinite(value) & jnp.isfinite(norm)
        with _allowing_promotion():
            changes, inner = optimizer.update(slopes, state.optimizer, state.parameters)
        moved = jax.tree.map(lambda p, c: p + c.astype(p.dtype), state.parameters, changes)
        new = TrainingState(state.step + 1, moved, inner, aux.buffer)
        kept = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, state)
        return kept, {"loss": value, "gradient_norm": norm, **aux.metrics}, fine

    shapes = jax.eval_shape(one, state)[1]
    record = {name: jnp.zeros((1, capacity), leaf.dtype) for name, leaf in shapes.items()}

    def goes_on(carry: _Loop) -> jax.Array:
        _, _, tried, fine = carry
        return (tried < number) & fine

    def body(carry: _Loop) -> _Loop:
        state, record, tried, _ = carry
        state, metrics, fine = one(state)
        record = jax.tree.map(lambda r, m: r.at[0, tried].set(m), record, metrics)
        return state, record, tried + 1, fine

    state, record, tried, _ = lax.while_loop(
        goes_on, body, (state, record, jnp.int32(0), jnp.array(True))
    )
    return Outcome(state, record, tried)


def _drawn(key: jax.Array, data: PyTree, batch_size: int | None) -> PyTree:
    """A batch of items drawn independently, as `estimators.minibatch` does; all data if None."""
    if batch_size is None:
        return data
    chosen = jax.random.randint(key, (batch_size,), 0, count(data))
    return jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), data)


def _norm(tree: PyTree) -> jax.Array:
    squares = [jnp.sum(trees.at_least_float32(leaf) ** 2) for leaf in jax.tree.leaves(tree)]
    dtype = jnp.result_type(*squares)
    return jnp.sqrt(jnp.sum(jnp.stack([square.astype(dtype) for square in squares])))


def _allowing_promotion() -> AbstractContextManager[None]:
    """Optimisers are not ours, and mix dtypes on purpose."""
    return jax.numpy_dtype_promotion("standard")


def _checked(returned: PyTree, buffer: PyTree) -> tuple[jax.Array, Aux]:
    """What a loss returned, if it is a scalar and an `Aux` of scalars."""
    pair = isinstance(returned, tuple) and len(returned) == 2
    if not pair or not isinstance(returned[1], Aux):
        raise TypeError(
            "loss: expected it to return a pair, a scalar and a jlangevin.learn.Aux (whose metrics "
            f"may be empty, Aux({{}})), got {trees.shown(returned)}"
        )
    value, aux = returned
    if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(f"loss: expected a floating scalar, got {trees.shown(value)}")
    for name, metric in aux.metrics.items():
        if jnp.shape(metric) != () or name in RESERVED:
            raise ValueError(
                f"loss: expected metrics that are scalars, with names other than "
                f"{' and '.join(RESERVED)}, got {name!r}: {trees.shown(metric)}"
            )
    if buffer is not None:
        trees.assert_like(
            "loss", aux.buffer, trees.struct(buffer), "the buffer for the next update", dtypes=True
        )
    elif aux.buffer is not None:
        aux = aux._replace(buffer=None)
    metrics = {name: jnp.asarray(metric) for name, metric in aux.metrics.items()}
    return value, aux._replace(metrics=metrics, negatives=None)
