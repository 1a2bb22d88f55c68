"""One table of a run: what every element of the draws is, how well it is known, and a verdict."""

from __future__ import annotations

import functools
import math
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_finite, check_known, check_probability
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin._core.warn import warn
from jlangevin.diagnostics import series
from jlangevin.errors import AxesWarning

__all__ = ["Summary", "summary"]

_RHAT = 1.01
_ESS = 400
_FEW_DRAWS = 20  # of a chain, below which too few lags are summed for an ESS
_ROWS, _WIDTH = 40, 100  # of what is printed
_NAME = 16  # characters of a name, for which other columns make room
_AT_ONCE = 2**22  # draws that are worked on together, which bounds the memory


@pytree_dataclass
class Summary:
    """The result of `summary`: k elements of a draw, and the run as a whole. Printed, a table."""

    mean: jax.Array  # (k,)
    sd: jax.Array  # (k,), with divisor n - 1
    quantiles: jax.Array  # (k, len(probs))
    mcse_mean: jax.Array  # (k,), Monte Carlo standard error of the mean
    mcse_sd: jax.Array  # (k,), and of the sd
    ess_bulk: jax.Array  # (k,)
    ess_tail: jax.Array  # (k,)
    rhat: jax.Array  # (k,)
    nested_rhat: jax.Array | None  # (k,), None without superchains
    num_stuck: jax.Array  # chains that have not moved
    num_divergent: jax.Array | None  # chains; None where draws are all that is known
    num_faults: jax.Array | None  # proposals at which the energy is NaN; None where not known
    acceptance_rate: jax.Array | None  # the mean over chains; None where not known
    names: tuple[str, ...] = static_field()  # "x[0]", "layer.weight[1, 2]", …
    probs: tuple[float, ...] = static_field()  # of the quantiles
    num_chains: int = static_field()
    num_draws: int = static_field()  # of each chain

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the draws, see `summary`."""
        return not self._against()[0]

    @property
    def verdict(self) -> str:
        """Whether the draws can be used, and why, in one to three sentences."""
        against, remedies = self._against()
        if against:
            advice = ", and ".join(dict.fromkeys(remedies))
            return f"Do not use these draws yet: {'; '.join(against)}. {_sentence(advice)}."
        label, disagreement = self._disagreement()
        worst, (ess, of) = int(np.argmax(disagreement)), self._least()
        said = (
            f"These draws can be used: {label} is at most {disagreement[worst]:.4f} "
            f"({self.names[worst]}), and ESS at least {math.floor(ess):,} ({of})."
        )
        if self.num_divergent is None:
            said += " Whether chains diverged is not known from draws alone."
        return said

    def table(self, max_rows: int = _ROWS) -> str:
        """Verdict, facts and a row for each element, no wider than 100 columns.

        Where there are more than `max_rows` elements, those with the largest R-hat or the smallest
        ESS are kept. Of more than three quantiles the outermost and one in the middle are shown.
        """
        kept = np.sort(np.argsort(-self._badness(), kind="stable")[:max_rows])
        longest = max(len(name) for name in ["element", *(self.names[i] for i in kept)])
        for digits, gap in ((4, 2), (3, 2), (3, 1)):  # until names have room
            header, cells = self._cells(kept, digits)
            widths = [gap + max(map(len, column)) for column in zip(header, *cells, strict=True)]
            room = _WIDTH - sum(widths)
            if room >= min(longest, _NAME):
                break
        names = [_shortened(self.names[i], room) for i in kept]
        first = max(map(len, [*names, "element"]))
        lines = [*textwrap.wrap(self.verdict, _WIDTH), *textwrap.wrap(self._facts(), _WIDTH), ""]
        for name, row in zip(["element", *names], [header, *cells], strict=True):
            padded = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(name.ljust(first) + "".join(padded))
        if left := len(self.names) - len(kept):
            lines.append(
                f"{left:,} of {len(self.names):,} elements are left out, none worse than these"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _disagreement(self) -> tuple[str, np.ndarray[Any, Any]]:
        """The R-hat that decides."""
        check_known("a verdict is in words", summary=self.rhat)
        nested = self.nested_rhat is not None
        return ("nested R-hat" if nested else "R-hat"), np.asarray(
            self.nested_rhat if nested else self.rhat, np.float64
        )

    def _least(self) -> tuple[float, str]:
        """The smallest ESS, and of what it is, in words."""
        both = np.stack([np.asarray(self.ess_bulk), np.asarray(self.ess_tail)]).astype(float)
        both = np.nan_to_num(both, nan=0.0)
        if self.num_draws < _FEW_DRAWS and self.num_chains < both.min():
            return self.num_chains, "one for each chain, as draws are too few to tell more"
        kind, element = np.unravel_index(np.argmin(both), both.shape)
        return float(both[kind, element]), f"{('bulk', 'tail')[kind]} of {self.names[element]}"

    def _badness(self) -> np.ndarray[Any, Any]:
        """For each element how far it is off, in units of what is allowed."""
        _, disagreement = self._disagreement()
        ess = np.minimum(np.asarray(self.ess_bulk), np.asarray(self.ess_tail)).astype(float)
        off = np.maximum((disagreement - 1) / (_RHAT - 1), _ESS / ess)
        return np.where(np.isnan(off), np.inf, off)

    def _against(self) -> tuple[list[str], list[str]]:
        """What speaks against the draws, and what to do."""
        against, remedies = [], []
        label, disagreement = self._disagreement()
        if constant := np.flatnonzero(np.isnan(disagreement)).tolist():
            others = _others(len(constant), "too")
            against.append(f"{self.names[constant[0]]} is the same in all draws{others}")
            remedies.append("leave out what is constant by design")
        ess, of = self._least()
        if apart := int(np.sum(disagreement >= _RHAT)):
            worst = int(np.nanargmax(disagreement))
            against.append(
                f"{label} of {self.names[worst]} is {_hat(disagreement[worst])}, and should be "
                f"below {_RHAT}{_others(apart, 'above it')}"
            )
        if ess < _ESS:
            against.append(f"ESS is {math.floor(ess):,} ({of}), and should be at least {_ESS}")
        if self.nested_rhat is None and apart and _ESS <= ess < 100 * self.num_chains:
            # Of correlated draws with a smaller ESS R-hat is above 1.01 once they have mixed, too.
            remedies.append(
                "run longer, or start groups of chains at the same places and give superchains, as "
                "chains as short as these are too short for R-hat"
            )
        elif apart or ess < _ESS:
            remedies.append("run longer, or warm up again")
        for count, what, remedy in (
            (self.num_divergent, "diverged", "use a smaller step size"),
            (self.num_stuck, "did not move", "use a smaller step size"),
        ):
            if count is not None and int(count):
                against.append(f"{int(count):,} of {self.num_chains:,} chains {what}")
                remedies.append(remedy)
        if self.num_faults is not None and int(self.num_faults):
            against.append(
                f"at {int(self.num_faults):,} proposals the energy or its gradient is NaN"
            )
            remedies.append("mend the energy")
        return against, remedies

    def _facts(self) -> str:
        facts = [f"{self.num_chains:,} chains of {self.num_draws:,} draws"]
        for count, what in (
            (self.num_divergent, "diverged"),
            (self.num_stuck, "stuck"),
            (self.num_faults, "proposals at fault"),
        ):
            if count is not None:
                facts.append(f"{int(count):,} {what}")
        if self.acceptance_rate is not None:
            facts.append(f"mean acceptance rate {float(self.acceptance_rate):.2f}")
        return "; ".join(facts)

    def _cells(self, rows: np.ndarray[Any, Any], digits: int) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table but for the names."""

        def number(digits: int) -> Any:
            return lambda value: _compact(f"{value:.{digits}g}")

        quantiles = np.asarray(self.quantiles)
        columns = [
            ("mean", self.mean, number(digits)),
            ("sd", self.sd, number(3)),
            *((f"{100 * self.probs[i]:g}%", quantiles[:, i], number(digits)) for i in self._few()),
            ("± mean", self.mcse_mean, number(2)),
            ("± sd", self.mcse_sd, number(2)),
            ("ESS bulk", self.ess_bulk, _count),
            ("tail", self.ess_tail, _count),
            ("R-hat", self.rhat, _hat),
        ]
        if self.nested_rhat is not None:
            columns.append(("nested", self.nested_rhat, _hat))
        values = [[shown(float(np.asarray(x)[i])) for i in rows] for _, x, shown in columns]
        return [title for title, _, _ in columns], [list(row) for row in zip(*values, strict=True)]

    def _few(self) -> list[int]:
        """The quantiles that are shown: all, or the outermost and one in the middle."""
        count = len(self.probs)
        return list(range(count)) if count <= 3 else [0, count // 2, count - 1]


def summary(
    draws: Any, *, probs: tuple[float, ...] = (0.05, 0.5, 0.95), superchains: int | None = None
) -> Summary:
    """All that a look at a run needs: a table of its draws, and whether they can be used.

    For each element of each leaf of the draws: mean, sd and quantiles; the Monte Carlo standard
    errors of mean and sd, printed as "± mean" and "± sd", see `mcse`; ESS of bulk and tails, see
    `ess`; R-hat, see `rhat`; and nested R-hat, see `nested_rhat`, where chains of a group started
    at the same place. Printed, it is a table of at most 40 rows and 100 columns below a verdict,
    with the worst rows kept; `Summary.table(max_rows)` has more.

    The draws can be used, `Summary.ok`, if

        R-hat < 1.01        of every element (Vehtari et al. 2021). With `superchains` it is nested
                            R-hat that decides, with the same threshold, as R-hat is above it for
                            many short chains however well they have mixed (Margossian et al. 2024).
        ESS >= 400          of bulk and tails of every element, over all chains together: what
                            Vehtari et al. ask of four chains, 100 of each. It makes the error of a
                            mean a twentieth of the sd. It is not asked of each chain here, as the
                            threshold of R-hat does so: of chains that have mixed R-hat is near
                            sqrt(1 + (τ - 1) / n), n draws in half a chain and τ their integrated
                            time, and below 1.01 if n is above 50 (τ - 1). Nested R-hat is there for
                            chains shorter than that. Of fewer than 20 draws of a chain too few
                            lags are summed for an ESS: there each chain counts for 1.
        no faults           no chain that diverged, none that did not move (all of its draws are
                            equal, or the acceptance of all its steps sums to less than 1), and no
                            proposal at which the energy or its gradient is NaN.

    None of it sees what all chains get wrong alike: a mode that none has found, the bias of a step
    size.

    Args:
        draws: a `Run` that kept its draws; or draws alone, an array (chain, draw, …) or a pytree
            of them, of at least 2 chains and 4 draws, of which divergences are not known.
        probs: probabilities of the quantiles.
        superchains: how many groups of chains started at the same place, side by side in the chain
            axis, see `nested_rhat`. None where each chain started elsewhere: nested R-hat means
            nothing then, and is left out.

    Returns:
        `Summary`, whose arrays have shape (k,) for the k elements that are named in `names`, as
        `Run.to_datatree` names variables: "x[0]", "layer.weight[1, 2]". All of it is computed by
        one program. Under `jit` the arrays can be had, and verdict and table outside of it.

    Raises:
        TypeError: draws that are not floats, or were not kept by the run; `probs` or
            `superchains` that are not numbers.
        ValueError: a single chain, fewer than 4 draws, leaves of different chains or draws, or two
            of one name; draws that are not finite; `probs` not in (0, 1); chains whose number is
            not a multiple of `superchains`.
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
    run: Any = draws if hasattr(draws, "draws") and hasattr(draws, "info") else None
    tree = _as_draws(draws if run is None else run.draws, of_run=run is not None)
    names, leaves = trees.dotted_names("draws", tree), jax.tree.leaves(tree)
    num_chains, num_draws = leaves[0].shape[:2]
    if superchains is not None:
        series.check_superchains(superchains, num_chains)
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
    if rates is not None:
        # One that accepts with less than certainty once in all its steps, as for StuckWarning.
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


def _as_draws(value: Any, *, of_run: bool) -> PyTree:
    """`value` as a pytree of finite floats, (chain, draw, …)."""
    if value is None:
        whose = "the run kept none" if of_run else "got None"
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
                f"{name}: expected floats, got {leaf.dtype}; if its mean means something, give "
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
            "as by num_chains=4 in sample"
        )
    if num_draws < series.MIN_DRAWS:
        raise ValueError(
            f"draws: expected at least {series.MIN_DRAWS} draws of each chain, got {num_draws}; "
            "run longer, or keep more by a smaller thin"
        )
    try:
        return check_finite("draws", tree)
    except ValueError as error:
        raise ValueError(f"{error}; leave out the chains or elements that are not") from None


def _as_probs(probs: Any) -> tuple[float, ...]:
    if not isinstance(probs, tuple | list) or not probs:
        raise TypeError(f"probs: expected a tuple of probabilities, as (0.05, 0.95), got {probs!r}")
    return tuple(check_probability("probs", prob) for prob in probs)


@functools.partial(compiled, static_argnames=("probs", "superchains"))
def _columns(
    leaves: list[jax.Array], *, probs: tuple[float, ...], superchains: int | None
) -> dict[str, Any]:
    """What `Summary` has of each element, (k,), and whether a chain has not moved, (chain,)."""
    leaves = [trees.at_least_float32(leaf) for leaf in leaves]
    dtype = trees.common_dtype(*leaves)
    num_chains, num_draws = leaves[0].shape[:2]
    flat = [leaf.reshape(num_chains, num_draws, -1).astype(dtype) for leaf in leaves]
    x = jnp.moveaxis(jnp.concatenate(flat, axis=2), 2, 0)

    def one(x: jax.Array) -> dict[str, Any]:
        stuck = jnp.max(x, axis=1) == jnp.min(x, axis=1)
        return {**series.all_of_one(x, probs, superchains), "stuck": stuck}

    # As many at a time as fit; the last ones are made up to a full number.
    count = len(x)
    batches = -(-count * num_chains * num_draws // _AT_ONCE)
    batch = -(-count // batches)
    batches = -(-count // batch)
    filled = jnp.concatenate([x, jnp.broadcast_to(x[:1], (batches * batch - count, *x.shape[1:]))])
    found = jax.lax.map(jax.vmap(one), filled.reshape(batches, batch, *x.shape[1:]))
    found = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:count], found)
    return {**found, "stuck": jnp.all(found["stuck"], axis=0)}


# Words and numbers ------------------------------------------------------------------------------


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _others(count: int, what: str) -> str:
    """That all but the first of `count` elements are so, too."""
    if count == 1:
        return ""
    return f" ({count - 1:,} {'other is' if count == 2 else 'others are'} {what})"


def _compact(number: str) -> str:
    """1.2e-05 as 1.2e-5."""
    head, mark, exponent = number.partition("e")
    return f"{head}e{int(exponent)}" if mark else number


def _count(value: float) -> str:
    return f"{math.floor(value)}" if value < 1e6 else _compact(f"{value:.2g}")


def _hat(value: float) -> str:
    return f"{value:.3f}" if value < 10 else _compact(f"{value:.3g}")


def _shortened(name: str, room: int) -> str:
    """`name` in at most `room` characters: its beginning and, as it has the places, its end."""
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}…{name[len(name) - end :]}"
