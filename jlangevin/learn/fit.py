"""`fit`: a small training loop, from arguments to a `Fit`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_key, check_known, check_made
from jlangevin._core.compiling import result_shapes
from jlangevin._core.trees import Parted, PyTree, pytree_dataclass, static_field
from jlangevin._core.warn import warn
from jlangevin.energies.base import Energy
from jlangevin.errors import InterruptedWarning, MiscompiledWarning, NonFiniteLossError
from jlangevin.learn.base import Aux, as_rows, check_rows, count
from jlangevin.learn.model import Places, parameters_of, with_parameters
from jlangevin.learn.persistent import Buffer
from jlangevin.learn.updates import Outcome, TrainingState, Work, begin, updates
from jlangevin.sampling import fingerprint
from jlangevin.sampling.arguments import as_folder, check_progress
from jlangevin.sampling.progress import Progress

if TYPE_CHECKING:
    import optax

__all__ = ["Fit", "fit"]


@pytree_dataclass
class Fit:
    """What `fit` returns, and what its callback is given.

    Attributes:
        energy: the energy with the parameters learned so far.
        history: the loss, the gradient's norm and the loss's metrics, an array of (num_updates,)
            for each name.
        buffer: the replay buffer, None without one.
        num_updates: updates done.
        stopped: whether the callback ended it.
        interrupted: whether Ctrl-C ended it.
    """

    energy: Any  # of the type of the energy that was given
    history: dict[str, NDArray[Any]]
    buffer: PyTree
    num_updates: int = static_field(default=0)
    stopped: bool = static_field(default=False)
    interrupted: bool = static_field(default=False)

    def __repr__(self) -> str:
        """The last metrics, each a mean over the last tenth of the updates."""
        last = max(self.num_updates // 10, 1)
        shown = [f"{name}: {np.mean(each[-last:]):.4g}" for name, each in self.history.items()]
        end = ", stopped" * self.stopped + ", interrupted" * self.interrupted
        return "\n  ".join([f"Fit of {self.num_updates:,} updates{end}", *shown])


def fit(
    key: jax.Array,
    energy: Energy,
    data: PyTree,
    loss: Callable[..., tuple[jax.Array, Aux]],
    optimizer: optax.GradientTransformation,
    *,
    num_updates: int,
    batch_size: int | None = None,
    buffer: Buffer | None = None,
    train: Callable[[str], bool] | None = None,
    callback: Callable[[Fit], bool | None] | None = None,
    every: int | None = None,
    progress: bool | Literal["always"] = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Fit:
    """Learn the parameters of an energy or a score.

    A loop over updates, compiled once: draw a batch, differentiate the loss by the energy's
    parameters, let the optimizer move them. Between blocks of `every` updates the host shows
    progress, saves a checkpoint, and calls `callback`. Update t is a function of (`key`, t) and the
    state before it, whatever the blocks are. For a loop of your own, use the losses alone.

    Args:
        key: a typed key.
        energy: its floating arrays are the parameters, as leaves of the pytree: an Equinox module
            or a method of one, a Flax NNX module, `jax.tree_util.Partial(apply, parameters)`.
            Python's numbers are constants. It is not changed; the result has a new one.
        data: a pytree of floating arrays whose first axis counts items, all on the device.
        loss: a function (key, energy, batch) -> (loss, `Aux`), or with a buffer (key, energy,
            batch, buffer): one of this module with its options given,
            `functools.partial(jl.learn.denoising_score_matching, sigma=0.1)`.
        optimizer: of Optax, for instance `optax.adam(1e-3)`. It sees the parameters as a dict by
            name, for masks; gradients are clipped by `optax.chain(optax.clip_by_global_norm(1.0),
            optax.adam(1e-3))`.
        num_updates: how many.
        batch_size: items in a batch, drawn independently for each update; all data by default.
        buffer: of `replay_buffer`, for losses with persistent chains.
        train: which parameters to learn, a function of a name such as "layers.0.weight"; all by
            default. The others stay constant.
        callback: called with a `Fit` after each block; if it returns True, learning stops. For
            metrics of your own, and to stop early by what it sees.
        every: updates in a block, a hundredth of all by default.
        progress: as for `sample`.
        checkpoint: a folder. Learning goes on from the checkpoint there, with the same bits, and
            saves one after each block. Needs the extra `checkpoint`.

    Returns:
        A `Fit`.

    Raises:
        TypeError, ValueError: an argument is not of its kind; no parameters; data with rows that
            are not finite; and what the loss raises.
        NonFiniteLossError: a loss or its gradient is not finite. The error has the step, the loss,
            and a `Fit` with the last good parameters.
        ImportError: Optax is not installed.
        CheckpointError: the checkpoints are of another run.

    Example:
        >>> import functools, jax, jax.numpy as jnp, jlangevin as jl, optax
        >>> def bowl(parameters, x):
        ...     return 0.5 * jnp.sum((jnp.exp(parameters["log_scale"]) * (x - 1.0)) ** 2)
        >>> energy = jax.tree_util.Partial(bowl, {"log_scale": jnp.zeros(1)})
        >>> data = 1.0 + 0.5 * jax.random.normal(jax.random.key(0), (1_000, 1))
        >>> loss = jl.learn.implicit_score_matching
        >>> fit = jl.learn.fit(
        ...     jax.random.key(1), energy, data, loss, optax.adam(0.1), num_updates=200)
        >>> round(float(jnp.exp(-fit.energy.args[0]["log_scale"][0])), 1)  # the data's sd
        0.5
    """
    check_optax()
    check_key("key", key)
    check_made("optimizer", optimizer)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"optimizer: expected one of Optax, such as optax.adam(1e-3), got {optimizer!r}"
        )
    for name, function in {"loss": loss, "callback": callback}.items():
        if not callable(function) and not (name == "callback" and function is None):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    if not (buffer is None or isinstance(buffer, Buffer)):
        raise TypeError(
            "buffer: expected the result of jlangevin.learn.replay_buffer or None, got "
            f"{type(buffer).__name__}"
        )
    num_updates = check_count("num_updates", num_updates, minimum=1)
    every = max(num_updates // 100, 1) if every is None else every
    every = check_count("every", every, minimum=1)
    if batch_size is not None:
        batch_size = check_count("batch_size", batch_size, minimum=1)
    check_known("learning stops and goes on by them", key=key, energy=energy, data=data)
    data = as_rows("data", data)
    check_rows("data", data)
    split = parameters_of(energy, train)
    work = Work(split.energy, Parted.of(loss), Parted.of(optimizer))
    state = begin(split.parameters, work.optimizer, buffer)

    def advance(state: TrainingState, work: Work, number: ArrayLike) -> Outcome:
        out: Outcome = updates(
            key,
            state,
            data,
            work,
            number,
            places=split.places,
            batch_size=batch_size,
            capacity=every,
        )
        return out

    store = None
    kept: list[dict[str, NDArray[Any]]] = []
    if checkpoint is not None:
        from jlangevin.sampling.checkpoint import Store

        store = Store(
            as_folder(checkpoint),
            _identity(key, state, data, work, split.places, batch_size),
            {"data": trees.shown(data), "train": ", ".join(split.parameters)},
            total=num_updates,
            observed=jax.tree.structure(result_shapes(advance, state, work, np.int32(0)).metrics),
            cumulative=True,
        )
        state, kept = store.restore(state)

    def result(**ended: bool) -> Fit:
        learned = with_parameters(split.energy, split.places, state.parameters)
        done = int(state.step)
        history = jax.tree.map(lambda *each: np.concatenate(each, axis=1)[0, :done], *kept)
        return Fit(learned, history if kept else {}, state.buffer, done, **ended)

    with Progress(check_progress(progress), num_updates, int(state.step), unit="update") as bar:
        while (done := int(state.step)) < num_updates:
            number = min(every, num_updates - done)
            try:
                with warnings.catch_warnings():
                    # It is for programs without our options; this one has them.
                    warnings.simplefilter("ignore", MiscompiledWarning)
                    out = jax.block_until_ready(advance(state, work, np.int32(number)))
            except KeyboardInterrupt:
                warn(
                    f"interrupted after {done} of {num_updates} updates, which are in the Fit "
                    "returned",
                    InterruptedWarning,
                )
                return result(interrupted=True)
            tried = int(out.num_tried)
            state = out.state
            kept.append({name: np.asarray(each)[:, :tried] for name, each in out.metrics.items()})
            if int(state.step) < done + tried:
                raise _not_finite(kept[-1], result())
            bar.advance(tried, _shown(kept[-1]))
            if store is not None:
                store.save(state, kept)
            if callback is not None and _says_stop(callback(result())):
                return result(stopped=True)
    return result()


def check_optax() -> None:
    try:
        import optax  # noqa: F401
    except ImportError as error:
        raise ImportError("learning needs Optax, the extra learn: pip install optax") from error


def _shown(metrics: dict[str, NDArray[Any]]) -> dict[str, str]:
    """What there is room for beside a bar."""
    names = ("loss", "gradient_norm", "acceptance_rate", "num_divergent")
    return {name: f"{metrics[name][0, -1]:.3g}" for name in names if name in metrics}


def _says_stop(answer: object) -> bool:
    if answer is None:
        return False
    if not isinstance(answer, bool | np.bool_ | jax.Array) or np.shape(answer) != ():
        raise TypeError(
            f"callback: expected it to return True to stop, or False or None, got {answer!r}"
        )
    return bool(answer)


def _not_finite(last: dict[str, NDArray[Any]], fit: Fit) -> NonFiniteLossError:
    loss, norm = (float(last[name][0, -1]) for name in ("loss", "gradient_norm"))
    others = [
        name
        for name, each in last.items()
        if name not in ("loss", "gradient_norm") and not np.isfinite(each[0, -1])
    ]
    what = f"its loss is {loss}" if not np.isfinite(loss) else f"its gradient's norm is {norm}"
    return NonFiniteLossError(
        f"loss: update {fit.num_updates} is not finite: {what}"
        + (f", and not finite are {', '.join(others)}" if others else "")
        + f". The parameters after {fit.num_updates} good updates are in this error's fit.energy. "
        "Take a smaller learning rate or step of the chain, clip gradients by "
        "optax.clip_by_global_norm, or keep energies small by regularization",
        step=fit.num_updates,
        loss=loss,
        fit=fit,
    )


def _identity(
    key: jax.Array,
    state: TrainingState,
    data: PyTree,
    work: Work,
    places: Places,
    batch_size: int | None,
) -> dict[str, str]:
    """What identifies a run of `fit`: equal for the same call, and only for that."""
    of = {
        name: f"{fingerprint.of_structure(part.structure)} {fingerprint.of_arrays(part.arrays)}"
        for name, part in work._asdict().items()
    }
    return {
        "key": fingerprint.of_arrays(key),
        "data": f"{count(data)} items {fingerprint.of_arrays(data)}",
        "buffer": fingerprint.of_arrays(state.buffer),
        **of,
        "train": ", ".join(name for _, name in places),
        "batch_size": str(batch_size),
    }
