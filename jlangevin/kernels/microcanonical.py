"""Microcanonical Langevin dynamics: a velocity of constant length, which forces only turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.trees import MaybeArray, PyTree, pytree_dataclass, static_field
from jlangevin._core.vector_loops import aligned, apart
from jlangevin.energies.base import Energy, value_and_gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    cast,
    hyperparameter,
)
from jlangevin.kernels.integrators import as_integrator, shares
from jlangevin.kernels.metropolis import MetropolisState, total
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = [
    "Isokinetic",
    "Microcanonical",
    "MicrocanonicalState",
    "check_turns",
    "microcanonical",
    "unit",
]


class MicrocanonicalState(NamedTuple):
    """Where a chain is and where it heads, and what is known there; None where only a score is."""

    position: Position
    velocity: Position  # u, like the position, |u| = 1
    energy: MaybeArray  # E(position), a scalar
    gradient: Position  # ∇E(position), like the position
    energy_change: jax.Array | None  # Δ of the last step, a scalar; see `microcanonical`


class Isokinetic:
    """The flow dx = L u dt, du = -(I - u uᵀ) Lᵀ∇E dt / (T (d - 1)) of a kernel, and its noise."""

    step_size: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None
    integrator: str

    kinetic = "isokinetic"

    def move(
        self, look: Callable[[Position], MetropolisState], here: MetropolisState, u: Position
    ) -> tuple[list[MetropolisState], Position, jax.Array]:
        """One step of the integrator: the points that it looks at, the last being its end; u
        there; and by how much T (d - 1) log(…), which is the kinetic energy, rises."""
        points = [here]
        rise = jnp.zeros((), trees.float_dtype(u))
        for k, share in enumerate(shares(self.integrator)):
            if k % 2:
                points.append(look(self._drift(points[-1].position, u, share)))
            else:
                u, more = self._turn(u, points[-1].gradient, share)
                rise += more
        return points[1:], u, rise

    def _drift(self, position: Position, u: Position, share: float) -> Position:
        """The move A."""
        rate = u if self.preconditioner is None else self.preconditioner.factor(u)

        def add(x: jax.Array, r: jax.Array) -> jax.Array:
            return x + cast(self.step_size, x) * share * r

        return jax.tree.map(add, position, rate)

    def _turn(self, u: Position, gradient: Position, share: float) -> tuple[Position, jax.Array]:
        """The move B: u turned towards the force, and by how much the kinetic energy rises.

        With ζ = e^{-δ}, p = ½|u + e|² = 1 + e·u and m = ½|u - e|², u' is in the direction of

            2 ζ (u + e) + (p (1 - ζ)² - 2 ζ²) e

        which is `microcanonical`'s formula times 2ζ, without what would overflow where δ is huge,
        or cancel where u and e are opposite.
        """
        if self.preconditioner is not None:
            gradient = self.preconditioner.transposed(gradient)
        steepness = _norm(gradient)
        flat = steepness == 0
        safe = jnp.where(flat, 1, steepness)
        e = aligned(jax.tree.map(lambda g: -g / safe.astype(g.dtype), gradient))
        time, temperature = (cast(p, steepness) for p in (self.step_size, self.temperature))
        heat = temperature * (trees.size(u) - 1)
        push = time * share * steepness
        delta = jnp.where(flat, 0, push / heat)
        zeta = jnp.exp(-delta)
        both = jax.tree.map(jnp.add, u, e)
        p = 0.5 * total(jnp.square, both)
        m = 0.5 * total(lambda u, e: jnp.square(u - e), u, e)
        forward = p * jnp.square(1 - zeta) - 2 * jnp.square(zeta)

        def turn(b: jax.Array, e: jax.Array) -> jax.Array:
            # One product is rounded before they are added, as a compiler may contract either.
            kept = separately_rounded(
                (2 * zeta).astype(b.dtype) * b, hidden_zero(zeta).astype(b.dtype)
            )
            return kept + forward.astype(e.dtype) * e

        turned = unit(aligned(jax.tree.map(turn, both, e)), u)
        along = total(lambda u, e: u * e, u, e)
        return turned, apart(partial(_rise, heat), push, delta, along, p, m)

    def refresh(self, u: Position, noise: Position, decoherence_length: Hyper) -> Position:
        """The move O: (u + ν z)/|u + ν z|."""

        def add(u: jax.Array, z: jax.Array) -> jax.Array:
            h, length = (cast(p, u) for p in (self.step_size, decoherence_length))
            return u + jnp.sqrt(jnp.expm1(2 * h / length) / size) * z

        size = trees.size(u)
        return unit(jax.tree.map(add, u, noise), u)


@pytree_dataclass
class Microcanonical(Isokinetic, Convertible):
    """See `microcanonical`."""

    step_size: Hyper
    decoherence_length: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None
    integrator: str = static_field()

    init_noise: ClassVar[Want] = Want.NORMAL
    step_noise: ClassVar[Want] = Want.NORMAL
    carries = ("velocity",)

    def init(self, energy: Energy, position: Position, noise: Noise) -> MicrocanonicalState:
        check_turns(position)
        value, slope = value_and_gradient(energy, position)
        none = None if value is None else jnp.zeros_like(value)
        return MicrocanonicalState(position, unit(noise, noise), value, slope, none)

    def step(
        self, energy: Energy, state: MicrocanonicalState, noise: Noise
    ) -> tuple[MicrocanonicalState, Info]:
        def look(x: Position) -> MetropolisState:
            return MetropolisState(x, *value_and_gradient(energy, x))

        here = MetropolisState(state.position, state.energy, state.gradient)
        points, u, rise = self.move(look, here, state.velocity)
        end = points[-1]
        u = self.refresh(u, noise, self.decoherence_length)
        change = None
        if end.energy is not None:
            change = end.energy - state.energy + rise.astype(end.energy.dtype)
            # A chain that has been where E is infinite must not look as if it had not.
            sound = jnp.isfinite(change)
            u = jax.tree.map(lambda leaf: jnp.where(sound, leaf, jnp.nan), u)
        return MicrocanonicalState(end.position, u, end.energy, end.gradient, change), Info()


def _rise(
    heat: jax.Array,
    push: jax.Array,
    delta: jax.Array,
    along: jax.Array,
    p: jax.Array,
    m: jax.Array,
) -> jax.Array:
    """heat log(cosh δ + e·u sinh δ): a small one by its distance from 0, a large one by its factors
    p = 1 + e·u and m = 1 - e·u, push being heat δ."""
    small = jnp.expm1(jnp.minimum(delta, 1))
    sinh, tanh_half = 0.5 * (small + small / (1 + small)), small / (2 + small)
    near = heat * jnp.log1p(sinh * (along + tanh_half))
    less = jnp.log(m) - 2 * delta  # where p is 0 and δ so huge that e^{-2δ} is too
    both = jnp.where(p == 0, less, jnp.log(p + m * jnp.exp(-2 * delta)))
    far = push + heat * (both - jnp.log(2.0))
    return jnp.where(delta < 1, near, far)


def unit(vector: Position, otherwise: Position) -> Position:
    """`vector` divided by its length, or `otherwise` where that is 0."""
    length = _norm(vector)
    still = length == 0
    safe = jnp.where(still, 1, length)

    def scaled(v: jax.Array, o: jax.Array) -> jax.Array:
        return jnp.where(still, o, v / safe.astype(v.dtype))

    return aligned(jax.tree.map(scaled, vector, otherwise))


def _norm(vector: Position) -> jax.Array:
    """|vector|, by squares that neither overflow nor vanish."""
    dtype = trees.float_dtype(vector)
    parts = [jnp.max(jnp.abs(v)).astype(dtype) for v in jax.tree.leaves(vector) if v.size]
    largest = jnp.max(jnp.stack(parts))
    scale = jnp.where(largest == 0, 1, largest)
    squares = total(lambda v: jnp.square(v / scale.astype(v.dtype)), vector)
    return scale * jnp.sqrt(squares)


def check_turns(position: Position) -> None:
    """Raise ValueError in fewer than two dimensions, where a unit vector cannot turn."""
    size = trees.size(position)
    if size < 2:
        raise ValueError(
            f"kernel: a microcanonical velocity has a constant length, so that in dimension {size} "
            "it cannot turn; take jlangevin.underdamped, or jlangevin.malt for no bias"
        )


def microcanonical(
    step_size: HyperLike,
    decoherence_length: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
    integrator: str = "minimal_norm",
) -> Microcanonical:
    """Microcanonical Langevin Monte Carlo (Robnik, De Luca, Silverstein and Seljak 2023; Robnik
    and Seljak 2024), also known as MCLMC.

        dx = L u dt,    du = -(I - u uᵀ) Lᵀ∇E(x) dt / (T (d - 1)) + noise,    |u| = 1,   L Lᵀ = P

    in d ≥ 2 dimensions. The force turns the velocity and does not lengthen it. The flow keeps
    exp(-E(x)/T) times the uniform law of directions, and so does noise that turns u in any
    direction alike, whatever its strength. A step of size ε is B A B O for "leapfrog", B A B A B O
    for "minimal_norm". With e = -Lᵀ∇E/|Lᵀ∇E| and δ = t |Lᵀ∇E| / (T (d - 1)),

        B    u ← (u + (sinh δ + e·u (cosh δ - 1)) e) / (cosh δ + e·u sinh δ)
        A    x ← x + t L u
        O    u ← (u + ν z) / |u + ν z|,    ν = sqrt((e^{2ε/ℓ} - 1)/d),    z ~ N(0, I)

    each of which is exact. The times t are those of a leapfrog, ε/2, ε, ε/2, or of the
    minimal-norm integrator (Omelyan, Mryglod and Folk 2003): λε, ε/2, (1 - 2λ)ε, ε/2, λε with
    λ = 0.19318. It costs two gradients a step, and has a seventh of the bias of the leapfrog,
    which costs one. "BCSS2" and "BCSS3", of two and three gradients, have the times of `malt`.

    Nothing is rejected, so that the law has a bias of order ε². What tells of it is in
    `state.energy_change`, the error that the step made in a quantity that the flow conserves:

        Δ = E(x') - E(x) + T (d - 1) Σ log(cosh δ + e·u sinh δ)

    the sum being over the B's of the step. On a normal law second moments have a relative bias near
    -0.2 (Var[Δ]/(d T²))^{1/3} for "minimal_norm", and +0.43 of that power for "leapfrog". Noise
    that `gradient_noise` adds is in Δ too. `adjusted_microcanonical` is without bias.

    A chain at which E is not finite counts as divergent. Of a score alone, energy and energy
    change are None.

    Args:
        step_size: ε > 0, a length, a scalar or a function of the step (see `Schedule`). Where P
            is near the covariance, a fraction of sqrt(d).
        decoherence_length: ℓ > 0, a length too, likewise: how far a chain goes until it has
            forgotten its direction. Where P is near the covariance, about sqrt(d).
        temperature: T > 0, a scalar or a function of the step. Lengths that suit it grow as sqrt(T)
            where E is quadratic.
        preconditioner: P, constant, symmetric and positive definite: None for I, a (d, d) matrix
            over the raveled position, or P's diagonal as a pytree like the position.
        integrator: "minimal_norm", "leapfrog", "BCSS2" or "BCSS3".

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, P not symmetric positive
            definite, another integrator. A P that does not fit the position, and a position of
            fewer than two elements, are refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, d = jl.energies.quadratic(jnp.eye(25)), 25
        >>> kernel = jl.microcanonical(step_size=0.3 * d**0.5, decoherence_length=d**0.5)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=50,
        ...                 num_chains=2_000, observe=None)
        >>> round(float((run.position**2).mean()), 1)
        1.0
        >>> bool(run.state.kernel.energy_change.var() / d < 1e-2)
        True
    """
    return Microcanonical(
        hyperparameter("step_size", step_size),
        hyperparameter("decoherence_length", decoherence_length),
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
        as_integrator(integrator),
    )
