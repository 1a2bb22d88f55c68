"""Runs in ArviZ's formats: one group for the draws, another for statistics of each draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.each import check_rows
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, check_callable, check_energy_on
from jlangevin.kernels.base import Info, Position
from jlangevin.sampling.state import SamplerState, Setup

if TYPE_CHECKING:
    import arviz
    import xarray

__all__ = ["to_datatree", "to_inference_data"]


Coords: TypeAlias = Mapping[str, Sequence[object]]
"""The coordinates of each dimension, by its name."""

Dims: TypeAlias = Mapping[str, Sequence[str]]
"""For each variable, the names of its dimensions after (chain, draw)."""


class Finished(Protocol):
    """The members of a `Run` that are used here."""

    @property
    def draws(self) -> PyTree: ...
    @property
    def info(self) -> Info: ...
    @property
    def state(self) -> SamplerState: ...
    @property
    def thin(self) -> int: ...
    @property
    def position(self) -> Position: ...


def to_datatree(
    run: Finished, energy: Energy | None, coords: Coords | None, dims: Dims | None
) -> xarray.DataTree:
    """See `Run.to_datatree`."""
    try:
        import arviz_base
        import xarray
    except ImportError as error:
        raise ImportError(
            "a DataTree needs ArviZ 1, the extra arviz: pip install arviz-base"
        ) from error
    groups = _groups(run, energy, coords, dims, arviz_base.dict_to_dataset)
    return xarray.DataTree.from_dict(groups)


def to_inference_data(
    run: Finished, energy: Energy | None, coords: Coords | None, dims: Dims | None
) -> arviz.InferenceData:
    """See `Run.to_inference_data`."""
    wanted = "an InferenceData needs an ArviZ before 1: pip install 'arviz<1', or use to_datatree"
    try:
        import arviz
    except ImportError as error:
        raise ImportError(wanted) from error
    if not arviz.__version__.startswith("0."):  # ArviZ 1 calls a DataTree InferenceData
        raise ImportError(f"{wanted}; installed is ArviZ {arviz.__version__}")
    return arviz.InferenceData(**_groups(run, energy, coords, dims, arviz.dict_to_dataset))


def _groups(
    run: Finished,
    energy: Energy | None,
    coords: Coords | None,
    dims: Dims | None,
    to_dataset: Callable[..., Any],
) -> dict[str, Any]:
    """The datasets of a run under ArviZ's names for them."""
    if run.draws is None:
        raise ValueError(
            "draws: the run kept no draws; pass observe=jlangevin.position, or another function "
            "of the kernel's state, to sample"
        )
    values = None if energy is None else np.asarray(_draw_energies(energy, run.draws))
    known: dict[str, NDArray[Any]] = {"diverging": _diverging(run, values)}
    if values is not None:
        known["energy"] = values
    variables = _variables(run.draws)
    _check_names(coords, dims, variables)
    stats = to_dataset(known, coords=coords)
    if run.info.acceptance_rate is not None:
        stats["acceptance_rate"] = ("chain", np.asarray(run.info.acceptance_rate))
    if run.info.rejections is not None:
        for name in ("walls", "faults", "rounded"):
            stats[f"rejections_{name}"] = ("chain", np.asarray(getattr(run.info.rejections, name)))
    posterior = to_dataset(variables, coords=coords, dims=dims)
    return {"posterior": posterior, "sample_stats": stats}


def _variables(draws: PyTree) -> dict[str, NDArray[Any]]:
    """The leaves by their names, on the host."""
    names = trees.dotted_names("draws", draws)
    return dict(zip(names, map(np.asarray, jax.tree.leaves(draws)), strict=True))


def _check_names(
    coords: Coords | None, dims: Dims | None, variables: dict[str, NDArray[Any]]
) -> None:
    """Raise unless `coords` and `dims` fit the variables and their shapes."""
    for name, value in (("coords", coords), ("dims", dims)):
        if value is not None and not isinstance(value, Mapping):
            raise TypeError(f"{name}: expected a dict, got {value!r}")
    num_chains, num_draws = next(iter(variables.values())).shape[:2]
    sizes = {"chain": num_chains, "draw": num_draws}
    for name, names in (dims or {}).items():
        if name not in variables:
            raise ValueError(f"dims: {name!r} is not among the variables {sorted(variables)}")
        shape = variables[name].shape[2:]
        if isinstance(names, str) or len(names) > len(shape):
            raise ValueError(
                f"dims: expected a list of at most {len(shape)} name(s) for {name!r}, whose draws "
                f"have the shape {shape}; got {names!r}"
            )
        sizes |= dict(zip(names, shape, strict=False))
    for name, values in (coords or {}).items():
        if len(values) != sizes.get(name, len(values)):
            raise ValueError(
                f"coords: {name!r} has {sizes[name]} place(s), got {len(values)} value(s)"
            )


def _all_finite(tree: PyTree, axes: int = 1) -> NDArray[np.bool]:
    """Whether all numbers are finite, at each index of the first axes."""
    leaves = map(np.asarray, jax.tree.leaves(tree))
    fine = [np.isfinite(leaf).all(axis=tuple(range(axes, leaf.ndim))) for leaf in leaves]
    found: NDArray[np.bool] = np.all(fine, axis=0)
    return found


def _diverging(run: Finished, energies: NDArray[Any] | None) -> NDArray[np.bool]:
    """(chain, draw): whether a draw is not to be trusted, see `Run.to_datatree`."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(run.draws)]
    num_draws = leaves[0].shape[1]
    steps = int(run.state.step) - run.thin * np.arange(num_draws)[::-1]
    failed = np.asarray(run.info.first_bad_step)[:, None]
    bad = (failed >= 0) & (steps > failed)
    for leaf in leaves:
        bad |= ~_all_finite(leaf, axes=2)
    if energies is not None:
        bad |= ~np.isfinite(energies)
    else:  # it is not known when a chain reached the place where its energy is not finite
        outside = (np.asarray(run.info.num_divergent) > 0) & _all_finite(run.position)
        bad |= outside[:, None] & (failed < 0)
    if run.info.rejections is not None:
        bad |= np.asarray(run.info.rejections.faults)[:, None] > 0
    return bad


def _draw_energies(energy: Energy, draws: PyTree) -> jax.Array:
    """E of every draw, (chain, draw)."""
    num_chains, num_draws = jax.tree.leaves(draws)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(num_chains * num_draws, *x.shape[2:]), draws)
    check_callable(energy)
    check_rows(num_chains, energy=energy)
    setup = Setup.of(energy, None)
    check_energy_on(setup.of_chain(0)[0], flat)
    if num_chains * num_draws == 0:
        return jnp.zeros((num_chains, num_draws), trees.float_dtype(flat))
    chains = np.repeat(np.arange(num_chains), num_draws)
    return setup.energies_at(flat, chains).reshape(num_chains, num_draws)
