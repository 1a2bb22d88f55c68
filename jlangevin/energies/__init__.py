"""Energies E(x) with p(x) ∝ exp(-E(x)): pytree callables, with their true moments where known.

Each energy is a frozen dataclass whose parameters are pytree leaves: it can be passed through
`jit`, `grad` and `vmap`, and a changed parameter never recompiles. `log_z` (the log of
∫ exp(-E)), `mean`, `cov` and the exact sampler `sample(key, num_draws)` are those of p at
temperature 1. Where one does not exist, or has no closed form, a named error says so.

The parameters of an energy, and so its moments and draws, have one dtype: the widest of the arrays
given, or JAX's default if there are none. Python numbers adopt it.

Any other callable from a position to a scalar is an energy too.
"""

from jlangevin._core.listing import listing
from jlangevin.energies.analytic import Analytic
from jlangevin.energies.double_well import DoubleWell, double_well
from jlangevin.energies.funnel import Funnel, funnel
from jlangevin.energies.gaussian_mixture import GaussianMixture, gaussian_mixture
from jlangevin.energies.gradient_check import GradientCheck, check
from jlangevin.energies.linear import Linear, linear
from jlangevin.energies.quadratic import Quadratic, quadratic
from jlangevin.energies.ring import Ring, ring
from jlangevin.energies.rosenbrock import Rosenbrock, rosenbrock

__all__ = [
    "Analytic",
    "DoubleWell",
    "Funnel",
    "GaussianMixture",
    "GradientCheck",
    "Linear",
    "Quadratic",
    "Ring",
    "Rosenbrock",
    "check",
    "double_well",
    "funnel",
    "gaussian_mixture",
    "linear",
    "quadratic",
    "ring",
    "rosenbrock",
]

__dir__ = listing(__all__)
