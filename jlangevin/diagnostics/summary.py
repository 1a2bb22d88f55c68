"""One table of a run: every element of the draws, how well it is known, and a verdict."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_finite, check_probability
from jlangevin._core.compiling import compiled_by_size
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.diagnostics.ess import TAILS, effective_size
from jlangevin.diagnostics.mcse import sd_error_of_squares, unit_and_squares
from jlangevin.diagnostics.rhat import (
    check_superchains,
    larger_of_both,
    plain_rhat,
    rank_scores,
    split_nested_rhat,
)
from jlangevin.diagnostics.series import MIN_DRAWS, quantile, split_chains, standard_deviation
from jlangevin.diagnostics.summary_report import Summary
from jlangevin.errors import AxesWarning
from jlangevin.sampling.run import Run

__all__ = ["Summary", "summary"]

_AT_ONCE = 2**22  # draws that are processed together, which bounds the memory


def summary(
    draws: Run | PyTree,
    *,
    probs: tuple[float, ...] = (0.05, 0.5, 0.95),
    superchains: int | None = None,
) -> Summary:
    """A table of a run's draws, and whether they can be used.

    For each element of each leaf of the draws: mean, sd and quantiles; the Monte Carlo standard
    errors of mean and sd, printed as "± mean" and "± sd", see `mcse`; ESS of bulk and tails, see
    `ess`; R-hat, see `rhat`; and nested R-hat, see `nested_rhat`, if chains of a group started
    at the same place. Printed, it is a verdict and a table of at most 40 rows, the worst ones, and
    100 columns; `Summary.table(max_rows)` has more.

    The draws can be used, `Summary.ok`, if

        R-hat < 1.01        for every element (Vehtari et al. 2021). With `superchains` nested R-hat
                            decides, with the same threshold, as R-hat of many short chains is above
                            it however well they have mixed (Margossian et al. 2024).
        ESS >= 400          for bulk and tails of every element, over all chains together: what
                            Vehtari et al. ask of four chains, 100 of each. Then the error of a
                            mean is a twentieth of the sd. It need not hold for each chain, as the
                            threshold of R-hat does that: R-hat of chains that have mixed is near
                            sqrt(1 + (τ - 1) / n), for n draws in half a chain and their integrated
                            time τ, and is below 1.01 if n is above 50 (τ - 1). For shorter chains
                            there is nested R-hat. With fewer than 20 draws of a chain too few
                            lags are summed for an ESS, and each chain counts for 1.
        no faults           no chain that diverged, no chain that did not move (all of its draws are
                            equal, or the acceptance of all its steps sums to less than 1), and no
                            proposal at which the energy or its gradient is NaN.

    None of these sees a mistake that all chains share: a mode that no chain has found, or the bias
    of a step size.

    Args:
        draws: a `Run` that kept its draws; or only draws, an array (chain, draw, …) or a pytree
            of arrays, of at least 2 chains and 4 draws, whose divergences are not known.
        probs: probabilities of the quantiles.
        superchains: how many groups of chains started at the same place, side by side in the chain
            axis, see `nested_rhat`. None if each chain started at another place: nested R-hat then
            means nothing, and is left out.

    Returns:
        `Summary`, whose arrays have shape (k,) for the k elements in `names`, which are as
        in `Run.to_datatree`: "x[0]", "layer.weight[1, 2]". One program computes all of it.
        Under `jit` only the arrays are available; verdict and table need concrete values.

    Raises:
        TypeError: draws that are not floats, or were not kept by the run; `probs` or
            `superchains` that are not numbers.
        ValueError: a single chain; fewer than 4 draws; leaves with different numbers of chains or
            draws, or with the same name; draws that are not finite; `probs` not in (0, 1); a number
            of chains that is not a multiple of `superchains`.
        AxesWarning: more chains than draws, as if axes were swapped; not for a run, nor with
            `superchains`.

    References: Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021),
        https://doi.org/10.1214/20-BA1221; Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari,
        Gelman (2024), https://doi.org/10.1214/24-BA1453.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), energy, jl.mala(1.0), energy,
        ...                 num_steps=1000, num_chains=4)
        >>> found = jl.diagnostics.summary(run)
        >>> found.ok, found.names, found.mean.shape
        (True, ('x[0]', 'x[1]'), (2,))
        >>> print(found.verdict.partition(":")[0])
        These draws can be used
    """
    run = draws if isinstance(draws, Run) else None
    tree = _as_draws(draws if run is None else run.draws, of_run=run is not None)
    names, leaves = trees.dotted_names("draws", tree), jax.tree.leaves(tree)
    num_chains, num_draws = leaves[0].shape[:2]
    if superchains is not None:
        check_superchains(superchains, num_chains)
        superchains = int(superchains)
    elif run is None and num_chains > num_draws:
        warn(
            f"draws: {num_chains} chains of {num_draws} draws, as the axes are (chain, draw, …). "
            "If they are (draw, chain, …), give jnp.swapaxes(draws, 0, 1); if they are right, "
            "ignore this warning",
            AxesWarning,
        )
    columns = _columns(leaves, probs=_as_probs(probs), superchains=superchains)
    stuck = columns.pop("stuck")
    info = None if run is None else run.info
    rates = None if info is None else info.acceptance_rate
    if run is not None and rates is not None:
        # A chain whose acceptance rate times its steps is below 1, as for StuckWarning.
        stuck = stuck | ~(rates * run.state.tally.num_steps.astype(rates.dtype) >= 1)
    return Summary(
        **columns,
        num_stuck=jnp.sum(stuck, dtype=jnp.int32),
        num_divergent=None if info is None else jnp.sum(info.num_divergent, dtype=jnp.int32),
        num_faults=(
            None
            if info is None or info.rejections is None
            else jnp.sum(info.rejections.faults, dtype=jnp.int32)
        ),
        acceptance_rate=None if rates is None else jnp.mean(rates),
        names=tuple(
            name + (f"[{', '.join(map(str, place))}]" if place else "")
            for name, leaf in zip(names, leaves, strict=True)
            for place in np.ndindex(leaf.shape[2:])
        ),
        probs=_as_probs(probs),
        num_chains=num_chains,
        num_draws=num_draws,
    )


def _as_draws(value: PyTree, *, of_run: bool) -> PyTree:
    """`value` as a pytree of finite floats, (chain, draw, …)."""
    if value is None:
        whose = "the run did not keep them" if of_run else "got None"
        raise TypeError(
            f"draws: {whose}; pass observe=jlangevin.position, or another function of the kernel's "
            "state, to sample"
        )
    tree = trees.as_position("draws", value)
    named = trees.named_leaves("draws", tree)
    if not named or all(leaf.size == 0 for _, leaf in named):
        raise ValueError(
            f"draws: expected axes (chain, draw, …), none of them empty, got {trees.shown(value)}"
        )
    for name, leaf in named:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"{name}: expected floats, got {leaf.dtype}; if its mean makes sense, give "
                f"{name}.astype(float), else leave it out"
            )
        if leaf.ndim < 2:
            raise ValueError(
                f"{name}: expected axes (chain, draw, …), got shape {leaf.shape}"
                + (f"; add the chain axis, {name}[None]" if leaf.ndim else "")
            )
        if leaf.shape[:2] != named[0][1].shape[:2]:
            raise ValueError(
                f"{name}: expected chains and draws as in {named[0][0]}, "
                f"{named[0][1].shape[:2]}, got {leaf.shape[:2]}"
            )
    num_chains, num_draws = named[0][1].shape[:2]
    if num_chains < 2:
        raise ValueError(
            f"draws: expected at least 2 chains, which R-hat compares, got {num_chains}; run more, "
            "for instance with num_chains=4 in sample"
        )
    if num_draws < MIN_DRAWS:
        raise ValueError(
            f"draws: expected at least {MIN_DRAWS} draws of each chain, got {num_draws}; "
            "run longer, or keep more with a smaller thin"
        )
    try:
        return check_finite("draws", tree)
    except ValueError as error:
        raise ValueError(f"{error}; leave out chains or elements that are not finite") from None


def _as_probs(probs: object) -> tuple[float, ...]:
    if not isinstance(probs, tuple | list) or not probs:
        raise TypeError(f"probs: expected a tuple of probabilities, as (0.05, 0.95), got {probs!r}")
    return tuple(check_probability("probs", prob) for prob in probs)


@functools.partial(compiled_by_size, static_argnames=("probs", "superchains"))
def _columns(
    leaves: list[jax.Array], *, probs: tuple[float, ...], superchains: int | None
) -> dict[str, Any]:
    """The columns of `Summary`, (k,), and whether a chain has not moved, (chain,)."""
    leaves = [trees.at_least_float32(leaf) for leaf in leaves]
    dtype = trees.common_dtype(*leaves)
    num_chains, num_draws = leaves[0].shape[:2]
    flat = [leaf.reshape(num_chains, num_draws, -1).astype(dtype) for leaf in leaves]
    x = jnp.moveaxis(jnp.concatenate(flat, axis=2), 2, 0)

    def element_columns(x: jax.Array) -> dict[str, Any]:
        stuck = jnp.max(x, axis=1) == jnp.min(x, axis=1)
        return {**_series_columns(x, probs, superchains), "stuck": stuck}

    # As many at a time as fit; the last batch is filled up.
    count = len(x)
    batches = -(-count * num_chains * num_draws // _AT_ONCE)
    batch = -(-count // batches)
    batches = -(-count // batch)
    filled = jnp.concatenate([x, jnp.broadcast_to(x[:1], (batches * batch - count, *x.shape[1:]))])
    found = jax.lax.map(jax.vmap(element_columns), filled.reshape(batches, batch, *x.shape[1:]))
    found = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:count], found)
    return {**found, "stuck": jnp.all(found["stuck"], axis=0)}


def _series_columns(
    x: jax.Array, probs: tuple[float, ...], superchains: int | None
) -> dict[str, jax.Array | None]:
    """The columns of `Summary` for one series (chain, draw).

    Each step is written once and mapped, to compile fast.
    """
    scores, (unit, square) = rank_scores(x), unit_and_squares(x)
    tails = [(x <= quantile(x, prob)).astype(x.dtype) for prob in TAILS]
    halves = jnp.stack([scores[0], *map(split_chains, [*tails, x, square])])
    bulk, low, high, mean, sd = jax.vmap(lambda split: effective_size(split, x))(halves)
    nested = functools.partial(split_nested_rhat, superchains=superchains or 1)
    return {
        "mean": jnp.mean(x),
        "sd": standard_deviation(x),
        "quantiles": jnp.stack([quantile(x, prob) for prob in probs]),
        "mcse_mean": standard_deviation(x) / jnp.sqrt(mean),
        "mcse_sd": sd_error_of_squares(unit, square, sd),
        "ess_bulk": bulk,
        "ess_tail": jnp.minimum(low, high),
        "rhat": larger_of_both(plain_rhat, scores, x),
        "nested_rhat": None if superchains is None else larger_of_both(nested, scores, x),
    }
