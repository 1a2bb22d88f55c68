"""A sampler, the problems that it is run on, and what came out of each run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from numpy.typing import NDArray

from jlangevin import energies, exact
from jlangevin._core import trees
from jlangevin._core.checks import as_host
from jlangevin._core.user_code import note_on_errors
from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Kernel
from jlangevin.sampling import sample
from jlangevin.verify._statistics import Floats

__all__ = [
    "CENTER",
    "FEW",
    "MANY",
    "PRECISION",
    "THETA",
    "Draw",
    "Lab",
    "Trial",
    "drawer",
    "normalized",
]

Draw = Callable[[jax.Array, Any, float, float, jax.Array, int], Any]
"""`draw(key, energy, step_size, temperature, init, num_steps)`; see `audit`."""
Rule = Callable[[Any, Any], Kernel]
"""A kernel by step size and temperature."""

FEW, MANY = 8, 100  # steps
THETA = np.array([3.0, 4.0])
PRECISION = np.array([[1.4, 0.6], [0.6, 1.0]])  # eigenvalues 0.57 and 1.83
CENTER = np.array([1.0, -2.0])
START = np.array([3.0, 1.0])
SPREAD = np.array([[2.0, -0.5], [-0.5, 1.0]])
MEANS, SCALES, WEIGHTS = np.array([-2.0, 2.0]), np.array([0.9, 1.3]), np.array([0.3, 0.7])


class Trial(NamedTuple):
    """One run, on the host: where it began, its law then, and what came out."""

    energy: Any
    start: Any  # a Gaussian, None where it has another law
    num_steps: int
    first: Floats  # (n, d)
    position: Floats  # (n, d)
    velocity: Floats | None  # (n, d)

    @property
    def finite(self) -> NDArray[np.bool_]:
        parts = [self.position] if self.velocity is None else [self.position, self.velocity]
        return np.asarray(np.isfinite(np.concatenate(parts, axis=1)).all(axis=1))


@dataclasses.dataclass
class Lab:
    """A sampler, and how it is run."""

    draw: Draw
    key: jax.Array
    step_size: float
    temperature: float
    num_chains: int
    level: float

    def __post_init__(self) -> None:
        self.keys = self._fresh()
        self.same = next(self.keys)  # that which is used twice
        root = math.sqrt(self.temperature)
        self.linear = energies.linear(THETA)
        self.quadratic = energies.quadratic(PRECISION, CENTER)
        self.scaled = energies.quadratic(PRECISION, CENTER / root)
        self.divided = energies.quadratic(PRECISION / self.temperature, CENTER)
        self.mixture = energies.gaussian_mixture(
            MEANS[:, None], SCALES[:, None, None] ** 2, WEIGHTS
        )
        self.point = Gaussian(START, np.zeros((2, 2)))
        self.spread = Gaussian(START, SPREAD)
        self.target = exact.target(self.quadratic, jnp.zeros(2), self.temperature)

    def _fresh(self) -> Iterator[jax.Array]:
        yield from jax.random.split(self.key, 32)

    def starts(self, law: Any) -> jax.Array:
        drawn: jax.Array = law.sample(next(self.keys), self.num_chains)
        return drawn

    def run(
        self,
        energy: Any,
        init: jax.Array,
        num_steps: int,
        *,
        start: Any = None,
        temperature: float | None = None,
        key: jax.Array | None = None,
    ) -> Trial | None:
        """None if the sampler has no notion of it."""
        key = next(self.keys) if key is None else jax.random.clone(key)
        temperature = self.temperature if temperature is None else temperature
        given = trees.shown((key, energy, self.step_size, temperature, init, num_steps))
        try:
            with note_on_errors(
                f"by draw, given key, energy, step size, T, init and num_steps {given}"
            ):
                out = self.draw(key, energy, self.step_size, temperature, init, num_steps)
        except NotImplementedError:
            return None
        pair = out if isinstance(out, tuple) else (out, None)
        if len(pair) != 2:
            raise ValueError(
                f"draw: expected positions, or positions and velocities, got {len(pair)} things"
            )
        position = _host("positions", pair[0], init.shape)
        velocity = None if pair[1] is None else _host("velocities", pair[1], init.shape)
        return Trial(energy, start, num_steps, np.asarray(init, np.float64), position, velocity)


def _host(name: str, given: Any, shape: tuple[int, ...]) -> Floats:
    """What a sampler hands over, on the host."""
    array = np.asarray(as_host(f"draw: its {name}", given), np.float64)
    if array.shape != shape:
        raise ValueError(
            f"draw: expected {name} of init's shape {shape}, got {array.shape}; "
            "jlangevin.verify.drawer makes a sampler of a kernel"
        )
    return array


def normalized(x: Floats) -> Floats:
    """Φ⁻¹(F(x)) for the distribution function F of the mixture, without loss in its tails."""
    z = (x - MEANS) / SCALES  # (n, 2)
    below, above = (np.dot(f(z), WEIGHTS) for f in (scipy.stats.norm.cdf, scipy.stats.norm.sf))
    return np.where(below < 0.5, scipy.stats.norm.ppf(below), scipy.stats.norm.isf(above))[:, None]


def drawer(make_kernel: Rule) -> Draw:
    """The sampler that runs a kernel of this library, or one like them, for `audit`.

    Where the kernel's state has a velocity, that is handed over too.

    Args:
        make_kernel: a function of step size and temperature, such as
            `lambda step, temperature: jl.mala(step, temperature=temperature)`.

    Raises:
        TypeError: `make_kernel` cannot be called; or, when it is run, makes no kernel. What it
            raises itself, and `sample`, is raised then too.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> draw = jl.verify.drawer(lambda step, temperature: jl.ula(step, temperature=temperature))
        >>> energy = jl.energies.linear([1.0, 0.5])
        >>> draw(jax.random.key(0), energy, 0.1, 1.0, jnp.zeros((3, 2)), 5).shape
        (3, 2)
    """
    if not callable(make_kernel):
        raise TypeError(
            "make_kernel: expected a function of step size and temperature that makes a kernel, "
            f"got {type(make_kernel).__name__}; for instance lambda step, temperature: "
            "jlangevin.ula(step, temperature=temperature)"
        )

    def draw(
        key: jax.Array,
        energy: Energy,
        step_size: float,
        temperature: float,
        init: jax.Array,
        num_steps: int,
    ) -> Any:
        with note_on_errors(f"by make_kernel, given step size and T ({step_size}, {temperature})"):
            kernel = make_kernel(step_size, temperature)
        run = sample(key, energy, kernel, init, num_steps=num_steps, observe=None)
        if hasattr(run.state.kernel, "velocity"):
            return run.position, run.state.kernel.velocity
        return run.position

    return draw
