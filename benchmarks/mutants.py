"""Wrong samplers, each a right one with one slip, for the tests and for `power.py`.

The setting is the same for all: two correlated dimensions, a large step, T ≠ 1, a mass ≠ 1, few
steps, so that the start still matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels.around import Around
from jlangevin.noise import Streams, Want

NUM_STEPS = 6
ETA, TEMPERATURE = 0.4, 2.0
SIGMA = (2 * ETA * TEMPERATURE) ** 0.5


def bowl() -> Any:
    return jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])


def slope() -> Any:
    return jl.energies.linear([3.0, 4.0])


def start() -> jl.Gaussian:
    return jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))


class Family(NamedTuple):
    """Kernels that should all be `right`."""

    right: Any
    mutants: dict[str, Any]
    energy: Callable[[], Any] = bowl


class State(NamedTuple):
    position: Any
    second: Any  # velocity or carried noise; zeros where there is none


@pytree_dataclass
class Rule:
    """A kernel given by its rule (∇E, x, second, ξ) -> (x, second); `scale` is that of the initial
    `second`. With more normals than one, ξ is a tuple of them."""

    rule: Any
    scale: float = 1.0
    normals: int = static_field(default=1)

    init_noise: ClassVar[Want] = Want.NORMAL

    @property
    def step_noise(self) -> Any:
        return Want.NORMAL if self.normals == 1 else (Want.NORMAL,) * self.normals

    def init(self, energy: Any, position: Any, noise: Any) -> State:
        return State(position, self.scale * noise)

    def step(self, energy: Any, state: State, noise: Any) -> tuple[State, jl.Info]:
        x, second = self.rule(jax.grad(energy), state.position, state.second, noise)
        return State(x, second), jl.Info()


def steps_to_see(name: str) -> int:
    """A slip in the first state alone is soon forgotten."""
    return 1 if "first" in name else NUM_STEPS


# Unadjusted ---------------------------------------------------------------------------------


@pytree_dataclass
class ForgetsStart(Around):
    """A kernel, but every chain starts at the origin."""

    def init(self, energy: Any, position: Any, noise: Any) -> Any:
        return self.kernel.init(energy, jnp.zeros_like(position), noise)


def update(rule: Callable[..., Any]) -> Rule:
    """A kernel without a second state, given by its rule (∇E, x, ξ) -> x."""
    return Rule(lambda g, x, second, xi: (rule(g, x, xi), second), scale=0.0)


def heun(g: Any, x: Any, xi: Any) -> Any:
    predicted = x - ETA * g(x)
    return x - ETA * (g(x) + g(predicted)) / 2 + SIGMA * xi


_ula = jl.ula(ETA, temperature=TEMPERATURE)

ULA = Family(
    _ula,
    {
        "drift sign flipped": update(lambda g, x, xi: x + ETA * g(x) + SIGMA * xi),
        "sqrt(2) dropped": update(lambda g, x, xi: x - ETA * g(x) + SIGMA / 2**0.5 * xi),
        "T for sqrt(T)": update(
            lambda g, x, xi: x - ETA * g(x) + (2 * ETA) ** 0.5 * TEMPERATURE * xi
        ),
        "gradient halved": update(lambda g, x, xi: x - ETA * g(x) / 2 + SIGMA * xi),
        "Heun drift, noise added afterwards": update(heun),
        "x_0 ignored": ForgetsStart(_ula),
    },
)

H, FRICTION, MASS = 1.2, 0.8, 2.0
KEPT = np.exp(-FRICTION * H)
HOT = np.sqrt(1 - KEPT**2)


def baoab(
    g: Any,
    x: Any,
    v: Any,
    xi: Any,
    *,
    a: tuple[float, float] = (0.5, 0.5),
    b: tuple[float, float] = (0.5, 0.5),
    kept: float = KEPT,
    hot: float = HOT,
    t: float = TEMPERATURE,
    masses: tuple[float, float] = (MASS, MASS),
    stale: bool = False,
) -> tuple[Any, Any]:
    force = g(x)
    v = v - b[0] * H * force / masses[0]
    x = x + a[0] * H * v
    v = kept * v + hot * np.sqrt(t / masses[1]) * xi
    x = x + a[1] * H * v
    v = v - b[1] * H * (force if stale else g(x)) / masses[0]
    return x, v


def changed(**changes: Any) -> Rule:
    """BAOAB written out, with changes."""
    return Rule(lambda *args: baoab(*args, **changes), float(np.sqrt(TEMPERATURE / MASS)))


def _underdamped(**changes: Any) -> Any:
    return jl.underdamped(
        H, **{"friction": FRICTION, "mass": MASS, "temperature": TEMPERATURE} | changes
    )


UNDERDAMPED = Family(
    _underdamped(),
    {
        "OBABO for BAOAB": _underdamped(splitting="OBABO"),
        "OABAO for BAOAB": _underdamped(splitting="OABAO"),
        "second half of A missing": changed(a=(0.5, 0.0)),
        "second half of B missing": changed(b=(0.5, 0.0)),
        "halves taken whole": changed(a=(1.0, 1.0), b=(1.0, 1.0)),
        "e^{-γh} and its complement swapped": changed(kept=HOT, hot=KEPT),
        "1 - e^{-γh} for 1 - e^{-2γh}": changed(hot=np.sqrt(1 - KEPT)),
        "T for sqrt(T)": changed(t=TEMPERATURE**2),
        "mass forgotten by B": changed(masses=(1.0, MASS)),
        "mass forgotten by O": changed(masses=(MASS, 1.0)),
        "stale force": changed(stale=True),
        "first velocity without T/m": Rule(baoab, 2.0),
        "friction of a half step": _underdamped(friction=FRICTION / 2),
    },
)


def ubu(
    g: Any,
    x: Any,
    v: Any,
    xi: tuple[Any, ...],
    *,
    t: float = H / 2,
    lead: float | None = None,
    shared: float = 1.0,
    apart: float = 1.0,
    twice: bool = True,
) -> tuple[Any, Any]:
    """Moments of U as in textbooks, with changes."""
    a, kept = FRICTION * t, np.exp(-FRICTION * t)
    lead = (1 - kept) / FRICTION if lead is None else lead
    of_v, both = 1 - kept**2, (1 - kept) ** 2 / FRICTION
    of_x = (2 * a - 3 + 4 * kept - kept**2) / FRICTION**2
    lower = np.linalg.cholesky([[of_v, both], [both, of_x]]) * np.sqrt(TEMPERATURE / MASS)
    for first, second in (xi[:2], xi[2:]):
        x = x + lead * v + shared * lower[1, 0] * first + apart * lower[1, 1] * second
        v = kept * v + lower[0, 0] * first
        if second is xi[1] or not twice:
            v = v - H * g(x) / MASS / (1 if twice else 2)
    return x, v


def flying(**changes: Any) -> Rule:
    """UBU written out, with changes."""
    return Rule(lambda *args: ubu(*args, **changes), float(np.sqrt(TEMPERATURE / MASS)), 4)


UBU = Family(
    _underdamped(splitting="UBU"),
    {
        "BUB for UBU": _underdamped(splitting="BUB"),
        "BAOAB for UBU": _underdamped(),
        "position moved as without friction": flying(lead=H / 2),
        "noise of the position not that of the velocity": flying(shared=0.0),
        "noise of the position forgotten": flying(shared=0.0, apart=0.0),
        "second normal twice as large": flying(apart=2.0),
        "halves taken whole": flying(t=H),
        "half of B after each U": flying(twice=False),
    },
)


def quicsort(
    g: Any,
    x: Any,
    v: Any,
    xi: tuple[Any, ...],
    *,
    nodes: tuple[float, float] = (0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6),
    third: float = 1 / 3,
    rest: tuple[float, float] | None = None,
    shift: float = 6.0,
    back: float = 6.0,
    line: float = 12.0,
    bend: float = 720.0,
) -> tuple[Any, Any]:
    """The formulas of `jlangevin.quicsort`, with changes."""
    c, d = nodes
    late, early = (d, c) if rest is None else rest

    def a(t: float) -> float:
        return float(1 - np.exp(-FRICTION * t)) / FRICTION

    def b(t: float) -> float:
        return (t - a(t)) / FRICTION

    sigma = np.sqrt(2 * FRICTION * TEMPERATURE / MASS)
    w, h, k = (sigma * np.sqrt(H / n) * z for n, z in zip((1, 12, bend), xi, strict=True))
    u, w = v + h + shift * k, (w - line * k) / H
    f = g(x + a(c * H) * u + b(c * H) * w) / MASS
    s = g(x + a(d * H) * u + b(d * H) * w - H * a(third * H) * f) / MASS
    x = x + a(H) * u + b(H) * w - H / 2 * (a(late * H) * f + a(early * H) * s)
    kept = [float(np.exp(-FRICTION * t * H)) for t in (1.0, late, early)]
    v = kept[0] * u + a(H) * w - H / 2 * (kept[1] * f + kept[2] * s) - h + back * k
    return x, v


def shifted(**changes: Any) -> Rule:
    """QUICSORT written out, with changes."""
    return Rule(lambda *args: quicsort(*args, **changes), float(np.sqrt(TEMPERATURE / MASS)), 3)


QUICSORT = Family(
    jl.quicsort(H, FRICTION, mass=MASS, temperature=TEMPERATURE),
    {
        "forces of each other's time": shifted(rest=(0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6)),
        "first stage looked at twice": shifted(nodes=(0.5 - 3**0.5 / 6,) * 2),
        "whole for a third": shifted(third=1.0),
        "K forgotten in the first jump": shifted(shift=0.0),
        "K of the wrong sign in the last jump": shifted(back=-6.0),
        "K forgotten on the line": shifted(line=0.0),
        "K of the variance of H": shifted(bend=12.0),
    },
)


def halves(noise: Callable[[Any, Any], Any], *, carried: bool = True, scale: float = 1.0) -> Rule:
    """Leimkuhler-Matthews written out, its noise a function of the carried and the fresh one."""

    def rule(g: Any, x: Any, z: Any, xi: Any) -> tuple[Any, Any]:
        return x - ETA * g(x) + SIGMA * noise(z, xi), xi if carried else z

    return Rule(rule, scale)


def mean(z: Any, xi: Any) -> Any:
    return (z + xi) / 2


LEIMKUHLER_MATTHEWS = Family(
    jl.leimkuhler_matthews(ETA, temperature=TEMPERATURE),
    {
        "all noise fresh": _ula,
        "half of the noise forgotten": halves(lambda z, xi: xi / 2),
        "noise not carried on": halves(mean, carried=False),
        "sum for mean": halves(lambda z, xi: z + xi),
        "variance of one normal": halves(lambda z, xi: (z + xi) / 2**0.5),
        "T for sqrt(T)": jl.leimkuhler_matthews(ETA, temperature=TEMPERATURE**2),
        "first noise missing": halves(mean, scale=0.0),
    },
)


def tamed(size: Callable[[Any], Any]) -> Rule:
    return update(lambda g, x, xi: x - ETA * g(x) / (1 + size(g(x))) + SIGMA * xi)


TAMED = Family(
    jl.tamed_ula(ETA, temperature=TEMPERATURE),
    {
        "not tamed": _ula,
        "η forgotten": tamed(jnp.linalg.norm),
        "norm squared": tamed(lambda g: ETA * jnp.sum(g**2)),
        "by coordinates": jl.tamed_ula(ETA, temperature=TEMPERATURE, coordinatewise=True),
        "T for sqrt(T)": jl.tamed_ula(ETA, temperature=TEMPERATURE**2),
    },
    slope,
)


# Drivers ------------------------------------------------------------------------------------


def drive(noise_at: Callable[[Streams, int], Any], seed: int, num_chains: int) -> jax.Array:
    """`ula` under a driver that takes step t's noise from `noise_at(streams, t)`."""
    energy = bowl()
    streams = jl.noise.streams(jax.random.key(seed), jnp.arange(num_chains))
    x = jl.distribution.starts(start(), streams)
    step = jax.vmap(
        lambda x, z: _ula.step(energy, jl.kernels.ULAState(x), z)[0].position,
        in_axes=-1,
        out_axes=-1,
    )
    for t in range(NUM_STEPS):
        x = step(x, noise_at(streams, t))
    return x.T


def fresh(streams: Streams, t: int) -> Any:
    like = jax.ShapeDtypeStruct((2,), jnp.zeros(()).dtype)
    return jl.noise.at_step(streams, Want.NORMAL, like, t)


def shared(streams: Streams, t: int) -> Any:
    made = fresh(streams, t)
    return jnp.broadcast_to(made[:, :1], made.shape)


DRIVERS: dict[str, Callable[[Streams, int], Any]] = {
    "noise shared between chains": shared,
    "noise reused at every second step": lambda streams, t: fresh(streams, t - t % 2),
}


# Accepting and rejecting --------------------------------------------------------------------


@pytree_dataclass
class Accepting(Around):
    """An adjusted kernel whose next state is rule(state, proposed, rate, uniform).

    A number picks the right rule or one of `RULES`, so that one program serves them all.
    """

    number: Any

    def step(self, energy: Any, state: Any, noise: Any) -> tuple[Any, jl.Info]:
        *proposal, uniform = noise
        proposed, info = self.kernel.step(energy, state, (*proposal, jnp.zeros_like(uniform)))
        number = jnp.asarray(self.number, jnp.int32)
        rules = [accept, *RULES.values()]
        after = jax.lax.switch(number, rules, state, proposed, info.acceptance_rate, uniform)
        return after, info


def accepting(kernel: Any, rule: str | None) -> Accepting:
    """The kernel with the rule of this name, or with the right one if None."""
    return Accepting(kernel, 0 if rule is None else 1 + list(RULES).index(rule))


def choose(accepted: Any, proposed: Any, state: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposed, state)


def accept(state: Any, proposed: Any, rate: Any, uniform: Any) -> Any:
    """The right rule."""
    return choose(uniform < rate, proposed, state)


def without_q(state: Any, proposed: Any, rate: Any, uniform: Any) -> Any:
    rise = proposed.energy - state.energy
    return choose(uniform < jnp.exp(-rise / TEMPERATURE), proposed, state)


def stale_gradient(state: Any, proposed: Any, rate: Any, uniform: Any) -> Any:
    return accept(state, proposed, rate, uniform)._replace(gradient=state.gradient)


def gradient_of_the_rejected(state: Any, proposed: Any, rate: Any, uniform: Any) -> Any:
    return accept(state, proposed, rate, uniform)._replace(gradient=proposed.gradient)


def energy_of_the_rejected(state: Any, proposed: Any, rate: Any, uniform: Any) -> Any:
    return accept(state, proposed, rate, uniform)._replace(energy=proposed.energy)


RULES: dict[str, Callable[..., Any]] = {
    "accept step dropped": lambda state, proposed, rate, uniform: proposed,
    "accept inverted": lambda state, proposed, rate, u: choose(u >= rate, proposed, state),
    "ratio of the proposals dropped": without_q,
    "temperature 1 in the ratio": lambda state, proposed, rate, u: accept(
        state, proposed, rate**TEMPERATURE, u
    ),
    "gradient not renewed": stale_gradient,
    "gradient of a rejected proposal kept": gradient_of_the_rejected,
    "energy of a rejected proposal kept": energy_of_the_rejected,
}
