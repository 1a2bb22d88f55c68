"""The law exp(-E/T) itself, on a grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jlangevin._core.checks import check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NotNormalizableError
from jlangevin.exact.grid.arguments import center_of, default_tolerance, given_region
from jlangevin.exact.grid.law import made_law
from jlangevin.exact.grid.panels import Floats, Panels
from jlangevin.exact.grid.plane.steps import is_of_plane
from jlangevin.exact.grid.plane.target import plane_target
from jlangevin.exact.grid.regions import Region, bulk, walls_of
from jlangevin.exact.grid.solve import COARSE, FINE, MOST_NODES
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.kernels.ula import ula

__all__ = ["grid_target"]


def grid_target(
    energy: Energy,
    position: PyTree,
    temperature: Any = 1.0,
    *,
    tolerance: Any = None,
    within: Any = None,
) -> Any:
    """The law p ∝ exp(-E/T) itself of a position of one or two elements, on a grid.

    Args:
        energy: any energy of a position of one or two elements.
        position: one position, with its structure, shapes and dtypes. Modes are sought around it.
        temperature: T > 0.
        tolerance, within: as for `grid_law`, except that the default tolerance for two elements is
            1e-8 too.

    Returns:
        A `GridLaw`; for two elements a `PlaneLaw`.

    Raises:
        NoEnergyError: only a score is known.
        NotNormalizableError: E does not rise on both sides, and no interval is given.
        NoGridLawError, TypeError, ValueError: as for `grid_law`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.grid_target(jl.energies.double_well(height=3.0), jnp.zeros(1))
        >>> round(float(law.density(1.0) / law.density(0.0)), 2)  # exp(3)
        20.09
    """
    temperature = float(check_scalar("temperature", temperature, positive=True))
    if is_of_plane(None, position):
        return plane_target(energy, position, temperature, tolerance, within)
    steps = StepFunction(ula(1.0), energy, position)
    tolerance = default_tolerance(steps.dtype, tolerance)
    center = center_of(steps, position)
    steps.energies(np.full(1, center))  # or NoEnergyError
    walls = walls_of(steps, center)
    region = given_region(within, walls)
    if region is None:
        depth = math.log(1 / tolerance) + 16
        hull = bulk(steps, center, 1e-3 * (1 + abs(center)), temperature, depth)
        if hull is None:
            raise NotNormalizableError(
                "energy: it does not rise on both sides, as far as can be seen, so exp(-E/T) has "
                "no finite integral; give by `within` the interval that counts"
            )
        region = Region.between(*hull, walls)
    panels, worst = Panels(np.linspace(region.low, region.high, 17), FINE), np.inf

    def measure(panels: Panels) -> Floats:
        energies = steps.energies(panels.nodes) / temperature
        if not (sound := energies > -np.inf).all():
            at = panels.nodes[~sound][0]
            raise ValueError(
                f"energy: it is {energies[~sound][0]:.4g} at {at:.4g}, so exp(-E/T) is no density; "
                "let it be inf where positions do not count (domains.confine), or leave them out "
                "by `within`"
            )
        weights = np.exp(energies.min() - energies) * panels.weights
        return np.asarray(weights / weights.sum())

    while panels.num * FINE < MOST_NODES:
        fine, coarse = measure(panels), measure(panels.of_order(COARSE))
        lacking = np.diff(panels.edges) * panels.tails(fine / panels.weights)
        blocks = (each.reshape(panels.num, -1).sum(axis=1) for each in (fine, coarse))
        worst = float(np.max(np.abs(np.cumsum(next(blocks)) - np.cumsum(next(blocks)))))
        if max(worst, lacking.sum()) <= tolerance:
            error = max(worst, 10 * float(np.finfo(steps.dtype).eps))
            return made_law(panels, fine, np.zeros(0), steps.like, (error, error), 0.0)
        cut = lacking > tolerance / (3 * panels.num)
        if not cut.any():
            break
        panels = panels.split(cut)
    raise NoGridLawError(
        f"tolerance: {tolerance:.1g} is not reached with {MOST_NODES} nodes between "
        f"{region.low:.4g} and {region.high:.4g}, but {worst:.1g}; give a larger one"
    )
