"""Every public kernel once, for the tests that run over all of them.

`test_contract` fails if a constructor is missing here. All run on a `Bowl`, at positions like
`START`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import jlangevin as jl
from jlangevin._core.arithmetic import product

A = jnp.array([[1.0, 0.3], [0.3, 2.0]])
ROOT = jnp.array([[0.5, 0.0], [0.2, 0.4]])
COV = product(ROOT, ROOT.T)
SIGMAS = [2.0, 1.0]
START = jnp.array([0.4, 0.7])
UNIT = jl.domains.box(0.0, 1.0)


class Bowl:
    """½ x·A x / σ², at the level σ."""

    def __init__(self, sigma=1.0):
        self.sigma = sigma

    def __call__(self, x):
        sigma = jnp.asarray(self.sigma, x.dtype)
        return 0.5 * jnp.sum(x * product(A.astype(x.dtype), x)) / sigma**2

    def at(self, sigma):
        return Bowl(sigma)


def exact(key, x):
    """An estimator of the bowl's gradient that makes no error."""
    return product(A.astype(x.dtype), x)


def noisy(key, x):
    return exact(key, x) + jax.random.normal(key, x.shape, x.dtype)


class Case(NamedTuple):
    """A kernel's constructor with example arguments, and what is known of its chains' law."""

    make: Callable[..., Any]  # (h, domain=…, estimator=…), all with defaults
    law: Literal["affine", "kept", "ula"] | None  # by exact.law; p is kept; that of ula; another


CASES = {
    "ula": Case(lambda h=0.1, **_: jl.ula(h), "affine"),
    "leimkuhler_matthews": Case(lambda h=0.1, **_: jl.leimkuhler_matthews(h), "affine"),
    "tamed_ula": Case(lambda h=0.1, **_: jl.tamed_ula(h), None),
    "underdamped": Case(lambda h=0.3, **_: jl.underdamped(h, 1.0), "affine"),
    "quicsort": Case(lambda h=0.3, **_: jl.quicsort(h, 1.0), "affine"),
    "microcanonical": Case(lambda h=0.3, **_: jl.microcanonical(h, 1.0), None),
    "mala": Case(lambda h=0.1, **_: jl.mala(h), "kept"),
    "barker": Case(lambda h=0.1, **_: jl.barker(h), "kept"),
    "malt": Case(lambda h=0.2, **_: jl.malt(h, 1.0, 2), "kept"),
    "ghmc": Case(lambda h=0.2, **_: jl.ghmc(h, 1.0), "kept"),
    "adjusted_microcanonical": Case(
        lambda h=0.3, **_: jl.adjusted_microcanonical(h, 2, decoherence_length=1.0), "kept"
    ),
    "sgld": Case(lambda h=0.1, estimator=exact, **_: jl.sgld(h, estimator), "ula"),
    "sghmc": Case(lambda h=0.1, estimator=exact, **_: jl.sghmc(h, 1.0, estimator), None),
    "projected": Case(lambda h=0.1, domain=UNIT, **_: jl.projected(h, domain), "ula"),
    "reflected": Case(lambda h=0.1, domain=UNIT, **_: jl.reflected(h, domain), "ula"),
    "reflected_mala": Case(lambda h=0.1, domain=UNIT, **_: jl.reflected_mala(h, domain), "kept"),
    "annealed": Case(lambda h=0.02, **_: jl.annealed(SIGMAS, 2, h), "affine"),
    "predictor_corrector": Case(lambda h=0.02, **_: jl.predictor_corrector(SIGMAS, h), "affine"),
    "gradient_noise": Case(lambda h=0.1, **_: jl.gradient_noise(jl.ula(h), 0.5 * COV), "affine"),
    "tempered": Case(lambda h=0.1, **_: jl.tempered(jl.ula(h), [1.0, 2.0]), None),
    "mirrored": Case(lambda h=0.1, domain=UNIT, **_: jl.mirrored(jl.ula(h), domain), None),
    "coupled": Case(lambda h=0.1, **_: jl.coupled(jl.ula(h), 1), "ula"),
}
