"""Every kernel in every wrapper: what works takes the inner kernel's own step, the rest is refused.

Steps are taken one by one, on noise as the driver makes it, and compared with those of the inner
kernel on an energy written here by hand. So the law is the inner kernel's on that energy.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_kernel import CASES, COV, ROOT, START, UNIT, A, Bowl, noisy

import jlangevin as jl
from jlangevin import noise
from jlangevin._core.arithmetic import product

POSITIVE = jl.domains.box(0.0, jnp.inf)


class Changed:
    """What `change` makes of the bowl, at any level."""

    def __init__(self, change, bowl):
        self.change, self.bowl = change, bowl

    def __call__(self, x):
        return self.change(self.bowl, x)

    def at(self, sigma):
        return Changed(self.change, self.bowl.at(sigma))


INNER = {name: case.make for name, case in CASES.items()} | {
    "ula": lambda: jl.ula(0.1, preconditioner=A),
    "sgld": lambda: jl.sgld(0.1, noisy),
    "sghmc": lambda: jl.sghmc(0.1, 1.0, noisy),
}
OUTER = {
    "mirrored": lambda kernel: jl.mirrored(kernel, POSITIVE),
    "tempered": lambda kernel: jl.tempered(kernel, [1.0, 2.0]),
    "gradient_noise": lambda kernel: jl.gradient_noise(kernel, COV),
    "coupled": lambda kernel: jl.coupled(kernel, 1, how="common"),
    "coupled, reflected": lambda kernel: jl.coupled(kernel, 1),
    "switched": lambda kernel: jl.normalizer.switched(kernel, Bowl(), [0.0, 1.0]),
}
FREE = ["ula", "leimkuhler_matthews", "tamed_ula", "underdamped", "quicsort", "microcanonical"]
ADJUSTED = ["mala", "barker", "malt", "ghmc", "adjusted_microcanonical"]
WALLED = ["projected", "reflected"]
LEVELS = ["annealed", "predictor_corrector"]
WORKS = {
    "mirrored": [*FREE, *ADJUSTED, "annealed"],
    "tempered": [*FREE, *ADJUSTED, *WALLED, "reflected_mala"],
    "gradient_noise": [*FREE, *WALLED, *LEVELS, "gradient_noise", "mirrored", "coupled"],
    "coupled": [*FREE, *ADJUSTED, "sgld", "sghmc", *WALLED, "reflected_mala", "gradient_noise",
                "mirrored"],
    "coupled, reflected": ["ula", "mala"],
    "switched": ADJUSTED,
}  # fmt: skip


def at(kernel, t):
    return jl.kernels.base.resolve_schedules(kernel, jnp.int32(t))


def made(want, t, purpose=noise.Purpose.STEP):
    return noise.at_step(
        noise.streams(jax.random.key(0), jnp.arange(1)[0]), want, START, t, purpose
    )


def first(kernel, energy, x=START):
    return at(kernel, 0).init(energy, x, made(kernel.init_noise, 0, noise.Purpose.INIT))


def jitted(kernel, energy):
    """The kernel's `init`, and its `step` at a number."""
    init = jax.jit(lambda x, z: at(kernel, 0).init(energy, x, z))
    step = jax.jit(lambda t, state, z: at(kernel, t).step(energy, state, z)[0])
    return init, step


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_what_does_not_work_is_refused_by_name(outer, inner):
    kernel = INNER[inner]()
    if inner in WORKS[outer]:
        assert OUTER[outer](kernel).kernel is kernel
        return
    with pytest.raises((TypeError, ValueError), match=r"^kernel: "):
        OUTER[outer](kernel)


@pytest.mark.parametrize("inner", WORKS["mirrored"])
def test_mirrored_is_the_inner_kernel_on_the_energy_of_u(inner):
    """x = log(1 + e^u), so W(u) = E(x) - Σ log σ(u)."""
    kernel = INNER[inner]()
    mirrored = OUTER["mirrored"](kernel)

    def dual(energy, u):
        return energy(jax.nn.softplus(u)) + jnp.sum(jax.nn.softplus(-u))

    by_hand = Changed(dual, Bowl())
    spare = made(mirrored.init_noise, 0, noise.Purpose.INIT)
    (init, step), (init_by_hand, step_by_hand) = jitted(mirrored, Bowl()), jitted(kernel, by_hand)
    state = init(START, spare)
    other = init_by_hand(np.log(np.expm1(START)), spare[0])
    for t in range(2):
        z = made(kernel.step_noise, t)
        state, other = step(t, state, z), step_by_hand(t, other, z)
        close(state.dual, other)
        close(state.position, np.log1p(np.exp(other.position)))


@pytest.mark.parametrize("inner", WORKS["gradient_noise"])
def test_gradient_noise_is_the_inner_kernel_on_a_tilted_energy(inner):
    kernel = INNER[inner]()
    noisy = OUTER["gradient_noise"](kernel)
    state = other = first(kernel, Bowl())
    close(first(noisy, Bowl()), state)
    for t in range(2):
        z, zeta = made(noisy.step_noise, t)
        error = product(ROOT, zeta)

        def tilted(energy, x, error=error):
            return energy(x) + jnp.sum(error * x)

        state, _ = at(noisy, t).step(Bowl(), state, (z, zeta))
        other, _ = at(kernel, t).step(Changed(tilted, Bowl()), other, z)
        close(state, other)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(outer, inner) for outer in OUTER if "coupled" in outer for inner in WORKS[outer]],
)
def test_the_leading_chain_of_a_pair_is_the_inner_kernels(outer, inner):
    kernel = INNER[inner]()
    pair = OUTER[outer](kernel)
    state, other = first(pair, Bowl()), first(kernel, Bowl())
    for t in range(2):
        state, _ = pair.step(Bowl(), state, made(pair.step_noise, t))
        other, _ = kernel.step(Bowl(), other, made(kernel.step_noise, t))
        close(state.leading, other, rtol=0)


@pytest.mark.parametrize("inner", ["quicsort", "microcanonical", *WALLED, "reflected_mala"])
def test_replicas_that_do_not_swap_take_the_inner_kernels_steps(inner):
    """A uniform of 1 swaps nothing; `test_tempered` does the same with the other kernels, for every
    replica, and checks that swaps keep the law."""
    kernel = INNER[inner]()
    tempered = OUTER["tempered"](kernel)
    z = made(tempered.init_noise, 0, noise.Purpose.INIT)
    (init, step), (init_alone, step_alone) = jitted(tempered, Bowl()), jitted(kernel, Bowl())
    state = init(START, z)
    other = init_alone(START, jax.tree.map(lambda leaf: leaf[..., 0], z))
    for t in range(2):
        z, uniforms = made(tempered.step_noise, t)
        state = step(t, state, (z, jnp.ones_like(uniforms)))
        other = step_alone(t, other, jax.tree.map(lambda leaf: leaf[..., 0], z))
        close(state.position, other.position)


def test_errors_of_the_gradient_add_up():
    """η² C of each, in the noise of a step."""
    kernel = jl.gradient_noise(jl.gradient_noise(jl.ula(1.0), COV), 2 * COV)
    energy, x = jl.energies.linear(jnp.ones(2)), jnp.zeros(2)
    found, alone = (jl.exact.affine_map(k, energy, x).cov for k in (kernel, jl.ula(1.0)))
    np.testing.assert_allclose(found - alone, 3 * COV, atol=1e-6)


def test_a_kernel_of_ones_own_says_what_it_has_by_its_members():
    class Own:
        init_noise, step_noise, temperature = None, None, 1.0

        def init(self, energy, position, noise): ...

        def step(self, energy, state, noise): ...

    assert jl.mirrored(Own(), UNIT).domain is UNIT
    for member, value, why in (("domain", UNIT, "walls"), ("estimator", sum, "estimator")):
        own = Own()
        setattr(own, member, value)
        with pytest.raises(TypeError, match=f"{why}.*Own|Own.*{why}"):
            jl.mirrored(own, UNIT)
    own = Own()
    own.by_value = True
    with pytest.raises(TypeError, match="Own accepts or rejects"):
        jl.gradient_noise(own, COV)


def test_mirroring_walls_would_have_changed_the_law():
    """The error names both, and what to take instead: the walls would stand in u."""
    for walled in (jl.projected, jl.reflected, jl.reflected_mala):
        with pytest.raises(TypeError, match=r"walls of its own.*jlangevin\.mala"):
            jl.mirrored(walled(0.05, UNIT), UNIT)
    with pytest.raises(TypeError, match="Mirrored has walls"):
        jl.mirrored(jl.coupled(jl.mirrored(jl.ula(0.1), UNIT), 1, how="common"), UNIT)
