"""Thermodynamic integration: log Z between temperatures from the mean energies at them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import special

from jlangevin._core.checks import as_array, as_host, check_finite, check_known, check_probability
from jlangevin._core.trees import Numbers
from jlangevin.kernels.tempered import as_ladder

__all__ = ["Thermodynamic", "thermodynamic"]

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Thermodynamic:
    """The result of `thermodynamic`; printed, it is a few lines.

    Attributes:
        value: log Z(T_1) - log Z(T_K), by the corrected trapezium rule.
        std_error: its standard error, between chains.
        correction: by how much the trapezium rule was corrected: an idea of what is left of the
            error of having so few temperatures, which is smaller.
        interval: (low, high), the value ± a quantile of its error ± the correction.
        bounds: (lower, upper), by the mean energies at the colder and the hotter end of each piece,
            between which the integral is however few the temperatures, each less a quantile of
            its error.
        mean_energy: ⟨E⟩ at each temperature, (K,).
        confidence: of the interval and the bounds.
    """

    value: float
    std_error: float
    correction: float
    interval: tuple[float, float]
    bounds: tuple[float, float]
    mean_energy: Floats
    confidence: float

    def __str__(self) -> str:
        share = f"{100 * self.confidence:g}%"
        low, high = self.interval
        return "\n".join(
            [
                f"log Z(T_1) - log Z(T_K) = {self.value:.6g} ± {self.std_error:.2g}, of which "
                f"{self.correction:.2g} are a correction for few temperatures",
                f"  interval    [{low:.6g}, {high:.6g}] at {share}",
                f"  bounds      [{self.bounds[0]:.6g}, {self.bounds[1]:.6g}] at {share}, however "
                "few the temperatures",
            ]
        )


def thermodynamic(
    energies: Numbers, temperatures: Numbers, *, confidence: float = 0.99
) -> Thermodynamic:
    """log Z(T_1) - log Z(T_K) from the energies of draws at all temperatures in between.

    With β = 1/T, d log Z/dβ = -⟨E⟩_β, so that (Kirkwood 1935; Gelman and Meng 1998)

        log Z(T_1) - log Z(T_K) = -∫ ⟨E⟩_β dβ    from 1/T_K to 1/T_1

    As d⟨E⟩/dβ = -Var_β(E) is known from the same draws, a piece of length h is integrated by the
    corrected trapezium rule (Friel, Hurn and Wyse 2014),

        h (⟨E⟩_hot + ⟨E⟩_cold)/2 - h² (Var_hot - Var_cold)/12

    and as ⟨E⟩ falls with β, h ⟨E⟩_cold and h ⟨E⟩_hot are bounds. Errors are those of a jackknife
    over chains. `tempered_log_z` makes more of the same draws, and needs no small pieces; this
    needs only energies.

    Args:
        energies: E of the draws at every temperature after burn-in, (chain, draw, K), of two
            chains or more, as `observe=lambda state: state.states.energy` keeps them for kernels
            that accept or reject.
        temperatures: T_1 < … < T_K, those of the kernel.
        confidence: of the interval and the bounds, in (0, 1).

    Returns:
        `Thermodynamic`.

    Raises:
        TypeError: energies that are no numbers.
        ValueError: a wrong shape, one chain alone, energies that are not finite, or temperatures
            that do not rise.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> bowl, ladder = jl.energies.quadratic(jnp.eye(4)), [1.0, 1.5, 2.2, 3.0]
        >>> run = jl.sample(jax.random.key(0), bowl, jl.tempered(jl.mala(0.5), ladder), bowl,
        ...                 num_steps=500, num_chains=32, burn_in=50,
        ...                 observe=lambda state: state.states.energy)
        >>> found = jl.normalizer.thermodynamic(run.draws, ladder)
        >>> round(found.value, 1), round(2 * float(jnp.log(1 / 3)), 1)  # d/2 log(T_1/T_K)
        (-2.2, -2.2)
    """
    check_known("normalisers are estimated on the host", energies=energies)
    ladder = np.asarray(as_ladder(temperatures), np.float64)
    as_array("energies", energies, ndim=3)
    e = np.asarray(as_host("energies", check_finite("energies", energies)), np.float64)
    if e.shape[0] < 2 or e.shape[1] < 1 or e.shape[2] != len(ladder):
        raise ValueError(
            f"energies: expected shape (chain, draw, {len(ladder)}), with a last axis for the "
            f"temperatures and two chains or more, got {e.shape}"
        )
    level = check_probability("confidence", confidence)
    chains = e.shape[0]
    origin = e.mean((0, 1))
    first = (e - origin).mean(1)  # (chain, K), of each chain
    second = ((e - origin) ** 2).mean(1)
    all_parts = _parts(first.mean(0), second.mean(0), origin, ladder)
    others = np.stack(
        [
            _parts((first.sum(0) - a) / (chains - 1), (second.sum(0) - b) / (chains - 1), origin,
                   ladder)
            for a, b in zip(first, second, strict=True)
        ]
    )  # fmt: skip
    errors = np.sqrt((chains - 1) * ((others - others.mean(0)) ** 2).mean(0))
    plain, correction, cold, hot, _ = all_parts
    value, error = plain + correction, float(errors[4])
    spread = float(special.stdtrit(chains - 1, 0.5 + level / 2))
    wide = spread * error + abs(correction)
    return Thermodynamic(
        value=float(value),
        std_error=error,
        correction=float(abs(correction)),
        interval=(float(value - wide), float(value + wide)),
        bounds=(float(hot - spread * errors[3]), float(cold + spread * errors[2])),
        mean_energy=origin,
        confidence=level,
    )


def _parts(first: Floats, second: Floats, origin: Floats, ladder: Floats) -> Floats:
    """-∫⟨E⟩ by the trapezium rule, its correction, and by the colder and the hotter ends alone; and
    the first two together. The moments are about `origin`."""
    mean, variance = origin + first, second - first**2
    h = -np.diff(1 / ladder)  # from one temperature to the next hotter one
    cold, hot = -np.sum(h * mean[:-1]), -np.sum(h * mean[1:])
    plain = 0.5 * (cold + hot)
    correction = np.sum(h**2 * (variance[1:] - variance[:-1])) / 12
    return np.array([plain, correction, cold, hot, plain + correction])
