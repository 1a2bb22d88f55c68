"""A sampler as a function: run it once, or make one from a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.checks import as_host
from jlangevin._core.user_code import note_on_errors
from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Kernel, known
from jlangevin.sampling import sample
from jlangevin.verify._statistics import Floats

__all__ = ["Draw", "Rule", "Trial", "drawer", "run_once"]

Draw = Callable[[jax.Array, Any, float, float, jax.Array, int], Any]
"""`draw(key, energy, step_size, temperature, init, num_steps)`; see `audit`."""
Rule = Callable[[Any, Any], Kernel]
"""A function of step size and temperature that makes a kernel."""


class Trial(NamedTuple):
    """One run, on the host: where its chains started, and where they ended."""

    energy: Any
    start_law: Gaussian | None  # None if the chains do not start from a Gaussian
    step_size: float
    num_steps: int
    start: Floats  # (n, d)
    position: Floats  # (n, d)
    velocity: Floats | None  # (n, d)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which chains ended at finite numbers, (n,)."""
        parts = [self.position] if self.velocity is None else [self.position, self.velocity]
        return np.asarray(np.isfinite(np.concatenate(parts, axis=1)).all(axis=1))


def run_once(
    draw: Draw,
    key: jax.Array,
    energy: Any,
    step_size: float,
    temperature: float,
    init: jax.Array,
    num_steps: int,
    start_law: Gaussian | None = None,
) -> Trial | None:
    """One run of a sampler; None if it does not support the energy, or so few chains."""
    given = trees.shown((key, energy, step_size, temperature, init, num_steps))
    try:
        with note_on_errors(
            f"by draw, given key, energy, step size, T, init and num_steps {given}"
        ):
            out = draw(key, energy, step_size, temperature, init, num_steps)
    except NotImplementedError:
        return None
    pair = out if isinstance(out, tuple) else (out, None)
    if len(pair) != 2:
        raise ValueError(
            f"draw: expected positions, or positions and velocities, got {len(pair)} things"
        )
    position = _on_host("positions", pair[0], init.shape)
    velocity = None if pair[1] is None else _on_host("velocities", pair[1], init.shape)
    start = np.asarray(init, np.float64)
    return Trial(energy, start_law, step_size, num_steps, start, position, velocity)


def _on_host(name: str, given: Any, shape: tuple[int, ...]) -> Floats:
    """What a sampler returned, on the host."""
    array = np.asarray(as_host(f"draw: its {name}", given), np.float64)
    if array.shape != shape:
        raise ValueError(
            f"draw: expected {name} of init's shape {shape}, got {array.shape}; "
            "jlangevin.verify.drawer makes a sampler from a kernel"
        )
    return array


def drawer(make_kernel: Rule) -> Draw:
    """A sampler for `audit` that runs a kernel of this library, or one with the same interface.

    If the kernel's state has a velocity, the sampler returns it too.

    Args:
        make_kernel: a function of step size and temperature, such as
            `lambda step, temperature: jl.mala(step, temperature=temperature)`.

    Raises:
        TypeError: `make_kernel` cannot be called; or, when it is run, does not make a kernel.
            Errors of `make_kernel` and `sample` are then raised too.

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
        velocity = known(run.state.kernel, "velocity")
        return run.position if velocity is None else (run.position, velocity)

    return draw
