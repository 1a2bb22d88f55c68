"""Regressions. As posteriordb has them they are not standardised, and most are badly scaled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .posterior import (
    Array,
    Posterior,
    Starts,
    flat,
    half_cauchy,
    half_cauchy_logs,
    half_normal,
    half_normal_logs,
    read,
    uniform,
)


def _energy(
    scale: Callable[[jax.Array], jax.Array],
    centre: jax.Array,
    precision: jax.Array,
    design: jax.Array,
    y: jax.Array,
    x: jax.Array,
) -> jax.Array:
    """y ~ N(design β, σ), β ~ N(centre, 1/precision), `scale` the energy of log σ."""
    residual = (y - design @ x[:-1]) * jnp.exp(-x[-1])
    likelihood = 0.5 * jnp.sum(residual**2) + y.size * x[-1]
    return likelihood + 0.5 * jnp.sum((precision * (x[:-1] - centre)) ** 2) + scale(x[-1])


def _scale_last(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x[:-1], jnp.exp(x[-1:])])


def _regression(
    file: str,
    name: str,
    columns: Callable[[dict[str, Any]], tuple[list[Any], Any]],
    scale: Callable[[jax.Array], jax.Array],
    prior: Starts | None = None,
    normal: Callable[[dict[str, Any]], tuple[Any, Any]] | None = None,
) -> Posterior:
    """Positions (β, log σ).

    `columns` makes the design's columns and y from the data; `normal` gives the means and standard
    deviations of β's prior, which is flat without it.
    """
    data, names, reference = read(file)
    parts, y = columns(data)
    design = np.column_stack([np.broadcast_to(part, len(y)) for part in parts]).astype(float)
    count = design.shape[1]
    centre, sd = normal(data) if normal else (0.0, np.inf)
    arrays = (np.broadcast_to(centre, count), 1 / np.broadcast_to(sd, count), design, y)
    return Posterior(
        name,
        count + 1,
        names,
        Partial(_energy, scale, *(jnp.asarray(np.asarray(each, float)) for each in arrays)),
        prior or uniform(count + 1),
        _scale_last,
        reference,
    )


def _normal_prior(
    scales: Callable[[np.random.Generator, float, int], Array],
    scale: float,
    count: int,
    rng: np.random.Generator,
    n: int,
) -> Array:
    """Starts with `count` coefficients ~ N(0, 10)."""
    last = scales(rng, scale, n)
    return np.column_stack([10 * rng.normal(size=(n, count)), last])


def autoregression() -> Posterior:
    """arK: a series on its last five values; positions (α, β_1 … β_5, log σ)."""

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        y, lags = np.asarray(data["y"]), data["K"]
        return [1.0, *(y[lags - k : len(y) - k] for k in range(1, lags + 1))], y[lags:]

    return _regression(
        "arK-arK",
        "arK",
        columns,
        Partial(half_cauchy, jnp.asarray(2.5)),
        partial(_normal_prior, half_cauchy_logs, 2.5, 6),
        lambda data: (0.0, 10.0),
    )


def earnings() -> Posterior:
    """log earnings on height in inches, flat priors: positions (β_1, β_2, log σ)."""

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        return [1.0, data["height"]], np.log(data["earn"])

    return _regression("earnings-logearn_height", "earnings", columns, Partial(flat))


def kid_scores_as_written() -> Posterior:
    """A child's score on the mother's IQ: positions (β_1, β_2, log σ), β_1 and β_2 near collinear.

    `kid_scores` is the same in coordinates of order one.
    """

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        return [1.0, data["mom_iq"]], data["kid_score"]

    return _regression(
        "kidiq-kidscore_momiq",
        "kid scores, as written",
        columns,
        Partial(half_cauchy, jnp.asarray(2.5)),
    )


def kid_scores_interaction() -> Posterior:
    """A child's score on the mother's schooling and IQ, centred, and their product, flat priors."""

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        schooling, iq = (np.asarray(data[name], float) for name in ("mom_hs", "mom_iq"))
        schooling, iq = schooling - schooling.mean(), iq - iq.mean()
        return [1.0, schooling, iq, schooling * iq], data["kid_score"]

    return _regression(
        "kidiq_with_mom_work-kidscore_interaction_c",
        "kid scores, interaction",
        columns,
        Partial(flat),
    )


def kilpisjarvi() -> Posterior:
    """Summers' temperatures on the year: positions (α, β, log σ), α and β all but collinear."""

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        return [1.0, data["x"]], data["y"]

    def normal(data: dict[str, Any]) -> tuple[Any, Any]:
        return (data["pmualpha"], data["pmubeta"]), (data["psalpha"], data["psbeta"])

    return _regression(
        "kilpisjarvi_mod-kilpisjarvi", "kilpisjarvi", columns, Partial(flat), normal=normal
    )


def mesquite() -> Posterior:
    """Mesquite bushes' weight in grams on six measures, flat priors: sd's from 36 to 221, log σ."""
    measures = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        return [1.0, *(data[name] for name in measures)], data["weight"]

    return _regression("mesquite-mesquite", "mesquite", columns, Partial(flat))


def wide_design() -> Posterior:
    """sblrc-blr: five columns of order 100 without an intercept, so β is known to 0.001."""

    def columns(data: dict[str, Any]) -> tuple[list[Any], Any]:
        return list(np.asarray(data["X"]).T), data["y"]

    return _regression(
        "sblrc-blr",
        "sblrc",
        columns,
        Partial(half_normal, jnp.asarray(10.0)),
        partial(_normal_prior, half_normal_logs, 10.0, 5),
        lambda data: (0.0, 10.0),
    )


# In coordinates of order one ----------------------------------------------------------------------


def kid_scores() -> Posterior:
    """A child's score on the mother's IQ, standardised: positions (a, b, log σ)."""
    data, names, reference = read("kidiq-kidscore_momiq")
    y, iq = np.asarray(data["kid_score"], float), np.asarray(data["mom_iq"])
    centre, spread = iq.mean(), iq.std()

    def prior(rng: np.random.Generator, n: int) -> Array:
        """The coefficients' own prior is flat, so these starts are as wide as the scores."""
        return np.column_stack([100 * rng.normal(size=(n, 2)), half_cauchy_logs(rng, 2.5, n)])

    def quantities(x: jax.Array) -> jax.Array:
        slope = x[1] / spread
        return jnp.stack([x[0] - slope * centre, slope, jnp.exp(x[2])])

    design = jnp.asarray(np.column_stack([np.ones(len(y)), (iq - centre) / spread]))
    energy = Partial(
        _energy,
        Partial(half_cauchy, jnp.asarray(2.5)),
        jnp.zeros(2),
        jnp.zeros(2),
        design,
        jnp.asarray(y),
    )
    return Posterior("kid scores", 3, names, energy, prior, quantities, reference)


def _logistic_energy(design: jax.Array, sign: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(jax.nn.softplus(-sign * (design @ w))) + 0.5 * jnp.sum(w**2)


def logistic_regression() -> Posterior:
    """569 tumours by 30 standardised features and an intercept, weights ~ N(0, 1)."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    design = jnp.asarray(np.column_stack([features, np.ones(len(features))]))
    dim = design.shape[1]
    return Posterior(
        "logistic regression",
        dim,
        tuple(f"w[{i}]" for i in range(dim)),
        Partial(_logistic_energy, design, jnp.asarray(2.0 * labels - 1)),
        lambda rng, n: rng.normal(size=(n, dim)),
        lambda w: w,
        None,
    )
