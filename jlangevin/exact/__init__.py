"""Exact laws, derived from the code that runs: of affine chains, and on a grid in low dimension.

If a kernel's step is affine in state and noise, z' = F z + c + G ξ, a Gaussian start stays
Gaussian: m' = F m + c and S' = F S Fᵀ + G Gᵀ. F and G come from `kernel.step` by `jax.jacfwd`, over
the whole state; the result is the position's marginal unless `full` is set.

Whether the step is affine is checked at probes of many sizes and directions. No finite number of
probes can prove it: an energy that deviates from a quadratic only between them passes. Outside
`jit` a step that is not affine raises `NotAffineError`. Where values are traced nothing can be
raised, and the law is NaN instead.

The precision is that of the position's dtype. Where ηλ is small, F = I - ηA loses digits to
rounding, and the law's relative error is about eps / (ηλ). Enable x64 for laws with many digits.

If kernel or energy have values that differ from chain to chain (`each`), there is a law for each.

`grid` has the laws of chains whose state has one or two dimensions on any energy, with their own
errors, and products of such laws for chains that move each coordinate alone.
"""

from jlangevin._core.deprecation import renamed
from jlangevin._core.listing import listing
from jlangevin.exact.affine import AffineMap, affine_map
from jlangevin.exact.distances import kl, wasserstein2
from jlangevin.exact.grid import (
    Carried,
    Coordinate,
    GridLaw,
    PlaneLaw,
    ProductLaw,
    coordinate,
    grid_autocorrelation_time,
    grid_hitting_time,
    grid_law,
    grid_relaxation_time,
    grid_stationary,
    grid_target,
    grid_value_and_grad,
    product_law,
    product_stationary,
    product_target,
    total_variation,
    wasserstein1,
)
from jlangevin.exact.law import law, stationary, trajectory
from jlangevin.exact.target import target

__all__ = [
    "AffineMap",
    "Carried",
    "Coordinate",
    "GridLaw",
    "PlaneLaw",
    "ProductLaw",
    "affine_map",
    "coordinate",
    "grid_autocorrelation_time",
    "grid_hitting_time",
    "grid_law",
    "grid_relaxation_time",
    "grid_stationary",
    "grid_target",
    "grid_value_and_grad",
    "kl",
    "law",
    "product_law",
    "product_stationary",
    "product_target",
    "stationary",
    "target",
    "total_variation",
    "trajectory",
    "wasserstein1",
    "wasserstein2",
]

__dir__ = listing(__all__)

__getattr__ = renamed(
    __name__, {"step_size_for": "jlangevin.adaptation.step_size_for"}, since="0.1"
)
