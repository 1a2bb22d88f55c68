"""Stochastic gradients against the exact moments of a chain on Bayesian linear regression.

No affine law holds: the noise of a minibatch depends on the position. But its covariance there is
quadratic in the position, so mean and second moment obey a recursion of their own. It is made here
in NumPy, from the n items' gradients one by one, for any chain

    z' = F z + c + B e(x̃) + w,    x̃ = D z,    E[e] = 0,    Cov[e] = n²/b Cov_i(H_i x̃ - c_i)

with w independent of the rest, of covariance Q. Samples are compared with it by z-scores of each
entry of mean and second moment about the exact mean, with the sample's own standard errors, at
|z| < 6.5. If the z-scores were normal, one of at most 14 would be beyond with probability 1.1e-9.
The claim is 1e-6, as with 50,000 chains they are only nearly normal. An error of 6.5 + 2.33
standard errors is seen with probability 0.99: a mean off by 0.04 standard deviations, a variance
off by 5.6% (for near normal positions). The laws with and without the minibatches' noise are
further apart than that, and every mutant is rejected.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin._core.arithmetic import product
from jlangevin.estimators import control_variate, minibatch
from jlangevin.kernels.proposal import Proposal
from jlangevin.noise import Want

pytestmark = pytest.mark.slow

NUM_CHAINS, LIMIT = 50_000, 6.5
FINITE, SETTLED = 4, 150

# The regression: e_i(x) = ½ (a_i·x - y_i)², prior ½ τ |x|².
N, B, TAU = 8, 2, 1.5
_rng = np.random.default_rng(0)
INPUTS = np.round(_rng.normal(size=(N, 2)), 2)
TARGETS = np.round(INPUTS @ [2.0, -1.0] + 2 * _rng.normal(size=N), 2)
H_I = INPUTS[:, :, None] * INPUTS[:, None, :]
C_I = INPUTS * TARGETS[:, None]
A, RHS = TAU * np.eye(2) + H_I.sum(0), C_I.sum(0)
CENTER = np.array([1.0, -0.5])
MEAN_0, COV_0 = np.array([3.0, 1.0]), np.array([[2.0, -0.5], [-0.5, 1.0]])
P = np.array([[0.5, 0.2], [0.2, 0.9]])
ETA, T = 0.04, 1.7


def energy_of_item(x, item):
    return 0.5 * (product(item["a"], x) - item["y"]) ** 2


def prior(x):
    return 0.5 * TAU * jnp.sum(x**2)


def batches(size=B):
    # Copies: JAX remembers what it made of a NumPy array under jit, in the precision of that time.
    data = {"a": jnp.array(INPUTS.copy()), "y": jnp.array(TARGETS.copy())}
    return minibatch(energy_of_item, data, size, prior)


def start():
    return jl.Gaussian(jnp.array(MEAN_0), jnp.array(COV_0))


# The moments ---------------------------------------------------------------------------------


def noise_cov(mean, second, *, centered=False, size=B):
    """n²/b E[Cov_i(u_i)], u_i = H_i x - c_i, or H_i (x - center), item by item."""
    c = H_I @ CENTER if centered else C_I
    means = H_I @ mean - c
    squares = np.zeros((2, 2))
    for h, ci in zip(H_I, c, strict=True):
        cross = np.outer(h @ mean, ci)
        squares += h @ second @ h.T - cross - cross.T + np.outer(ci, ci)
    h, ci = H_I.mean(0), c.mean(0)
    cross = np.outer(h @ mean, ci)
    of_mean = h @ second @ h.T - cross - cross.T + np.outer(ci, ci)
    np.testing.assert_allclose(means.mean(0), h @ mean - ci)
    return N**2 / size * (squares / N - of_mean)


def moments(F, c, B_, D, Q, mean, cov, num_steps, **noise):
    """Mean and covariance of z after `num_steps` steps."""
    for _ in range(num_steps):
        m = D(mean)
        inner = D(D(cov).T).T
        extra = B_ @ noise_cov(m, inner + np.outer(m, m), **noise) @ B_.T
        mean, cov = F @ mean + c, F @ cov @ F.T + extra + Q
    return mean, cov


def law_of_sgld(num_steps, *, p=None, eta=ETA, **noise):
    p = np.eye(2) if p is None else p
    return moments(
        np.eye(2) - eta * p @ A,
        eta * p @ RHS,
        eta * p,
        lambda z: z,
        2 * eta * T * p,
        MEAN_0,
        COV_0,
        num_steps,
        **noise,
    )


def law_of_sghmc(num_steps, *, known=None, **noise):
    """Of (x, v): first x̃ = x + h v, then the velocity on the estimate at x̃."""
    known = np.zeros((2, 2)) if known is None else known
    eye, zero = np.eye(2), np.zeros((2, 2))
    drift = np.block([[eye, STEP * eye]])  # x̃ out of z
    F = np.block([[drift], [-STEP / MASS * A @ drift + [[0, 0, KEPT, 0], [0, 0, 0, KEPT]]]])
    injected = 2 * FRICTION * STEP * T / MASS * eye - STEP**2 / MASS**2 * known
    return moments(
        F,
        np.concatenate([np.zeros(2), STEP / MASS * RHS]),
        np.vstack([zero, STEP / MASS * eye]),
        lambda z: drift @ z,
        np.block([[zero, zero], [zero, injected]]),
        np.concatenate([MEAN_0, np.zeros(2)]),
        np.block([[COV_0, zero], [zero, T / MASS * eye]]),
        num_steps,
        **noise,
    )


STEP, FRICTION, MASS = 0.2, 3.0, 2.0
KEPT = 1 - STEP * FRICTION


def largest_z(samples, law):
    """The largest |z| over the entries of mean and second moment about the law's mean."""
    mean, cov = law
    deviation = np.asarray(samples, np.float64) - mean
    rows, cols = np.tril_indices(len(mean))
    wanted = np.concatenate([np.zeros(len(mean)), cov[rows, cols]])
    terms = np.concatenate([deviation, deviation[:, rows] * deviation[:, cols]], 1)
    z = (terms.mean(0) - wanted) / (terms.std(0) / np.sqrt(len(terms)))
    return float(np.max(np.abs(z)))


def state_after(kernel, num_steps, energy=None):
    run = jl.sample(
        jax.random.key(0),
        batches().energy if energy is None else energy,
        kernel,
        start(),
        num_steps=num_steps,
        num_chains=NUM_CHAINS,
        observe=None,
    )
    return run.state.kernel


def positions(kernel, num_steps):
    return state_after(kernel, num_steps).position


def phases(kernel, num_steps):
    state = state_after(kernel, num_steps)
    return np.concatenate([state.position, state.velocity], 1)


# Estimators ----------------------------------------------------------------------------------


@pytest.mark.parametrize("centered", [False, True])
def test_an_estimate_has_the_mean_and_covariance_of_the_enumerated_items(centered):
    x = jnp.array([0.3, 1.1])
    estimator = control_variate(batches(), jnp.array(CENTER)) if centered else batches()
    keys = jax.random.split(jax.random.key(1), NUM_CHAINS)
    made = jax.jit(jax.vmap(estimator, (0, None)))(keys, x)
    at = np.asarray(x, np.float64)
    law = A @ at - RHS, noise_cov(at, np.outer(at, at), centered=centered)
    assert largest_z(made, law) < LIMIT
    np.testing.assert_allclose(jax.grad(batches().energy)(x), law[0], rtol=1e-5)


def test_an_estimate_at_the_center_is_exact():
    estimator = control_variate(batches(), jnp.array(CENTER))
    made = estimator(jax.random.key(0), jnp.array(CENTER))
    np.testing.assert_allclose(made, A @ CENTER - RHS, rtol=1e-5)


def test_estimates_over_pytrees_of_positions_and_data():
    def item_energy(x, item):
        return jnp.sum((x["w"] @ item[0] + x["b"] - item[1]) ** 2)

    data = (np.ones((6, 3), np.float32), jnp.arange(6))  # labels may be integers

    def labelled(x, item):
        return item_energy(x, (item[0], item[1].astype(jnp.float32)))

    x = {"w": jnp.ones((2, 3)), "b": jnp.zeros(2)}
    plain = minibatch(labelled, data, 4)
    for estimator in (plain, control_variate(plain, x)):
        made = estimator(jax.random.key(0), x)
        assert made["w"].shape == (2, 3)
    run = jl.sample(
        jax.random.key(0),
        plain.energy,
        jl.sgld(1e-3, plain),
        jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), x),
        num_steps=5,
    )
    assert run.draws["w"].shape == (3, 5, 2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: minibatch(1.0, jnp.ones(3), 2), TypeError, "energy_of_item: expected"),
        (lambda: minibatch(prior, jnp.ones(3), 2, 1.0), TypeError, "prior: expected"),
        (lambda: minibatch(prior, jnp.ones(()), 2), ValueError, "data: expected an array"),
        (lambda: minibatch(prior, (), 2), ValueError, "data: expected arrays"),
        (lambda: minibatch(prior, jnp.ones(0), 2), ValueError, "data: expected the same number"),
        (lambda: minibatch(prior, (jnp.ones(3), jnp.ones(2)), 2), ValueError, r"data\[0\] has 3"),
        (lambda: minibatch(prior, jnp.ones(3), 0), ValueError, "batch_size: expected at least 1"),
        (lambda: minibatch(prior, jnp.ones(3), 1.5), TypeError, "batch_size: expected an integer"),
        (lambda: control_variate(prior, jnp.ones(3)), TypeError, "minibatch: expected"),
        (
            lambda: control_variate(batches(), jnp.array([jnp.inf, 0.0])),
            ValueError,
            "center: the gradient there",
        ),
        (
            lambda: control_variate(batches(), jnp.ones(2))(jax.random.key(0), jnp.ones(3)),
            ValueError,
            r"center: expected .*, like the position, got",
        ),
    ],
)
def test_bad_arguments_of_estimators_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


# SGLD ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, FINITE, SETTLED])
@pytest.mark.parametrize("shape", [None, P], ids=["plain", "preconditioned"])
def test_sgld_has_the_moments_of_the_recursion(num_steps, shape):
    given = None if shape is None else jnp.array(shape)
    kernel = jl.sgld(ETA, batches(), temperature=T, preconditioner=given)
    law = law_of_sgld(num_steps, p=shape)
    made = positions(kernel, num_steps)
    assert largest_z(made, law) < LIMIT
    if num_steps == SETTLED:
        np.testing.assert_allclose(law_of_sgld(num_steps + 50, p=shape)[1], law[1], rtol=1e-5)


@pytest.mark.parametrize("num_steps", [FINITE, SETTLED])
def test_a_control_variate_has_the_moments_of_its_recursion(num_steps):
    kernel = jl.sgld(ETA, control_variate(batches(), jnp.array(CENTER)), temperature=T)
    made, law = positions(kernel, num_steps), law_of_sgld(num_steps, centered=True)
    assert largest_z(made, law) < LIMIT
    assert largest_z(made, law_of_sgld(num_steps)) > LIMIT


def test_an_estimate_without_noise_is_ula():
    energy = batches().energy
    kernels = jl.sgld(ETA, lambda key, x: jax.grad(energy)(x)), jl.ula(ETA)
    a, b = (
        jl.sample(jax.random.key(0), energy, kernel, jnp.ones((5, 2)), num_steps=7).draws
        for kernel in kernels
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)


class State(NamedTuple):
    position: Any
    key: Any


class OneKey(NamedTuple):
    """SGLD with the key of its first step at every step."""

    estimator: Any

    init_noise = Want.KEY
    step_noise = Want.NORMAL

    def init(self, energy, position, key):
        return State(position, jax.random.key_data(key))

    def step(self, energy, state, noise):
        slope = self.estimator(jax.random.wrap_key_data(state.key), state.position)
        moved = Proposal(state.position, slope, ETA, T).drawn(noise)
        return State(moved, state.key), jl.Info()


def changed(change, **arguments):
    """SGLD on an estimate that `change` makes of key, position and batch."""
    return jl.sgld(ETA, change, **{"temperature": T, **arguments})


def sum_over(batch, x):
    return jax.grad(lambda x: batches().energy.of(batch, x))(x)


def of_weights(prior, batch, key, x):
    return prior * TAU * x + batch * sum_over(batches().draw(key), x)


def weighted(prior, batch):
    """Estimates with these weights, which are data: 1 and n/b are right."""
    return Partial(of_weights, prior, batch)


def without_replacement(key, x):
    chosen = jax.random.choice(key, N, (B,), replace=False)
    batch = jax.tree.map(lambda leaf: leaf[chosen], batches().energy.data)
    return TAU * x + N / B * sum_over(batch, x)


def never_the_last(key, x):
    chosen = jax.random.randint(key, (B,), 0, N - 1)
    batch = jax.tree.map(lambda leaf: leaf[chosen], batches().energy.data)
    return TAU * x + N / B * sum_over(batch, x)


def one_item_for_all(key, x):
    return batches(1)(key, x)


def exact_gradient(key, x):
    return jax.grad(batches().energy)(x)


MUTANTS = {
    "n/b forgotten": lambda: changed(weighted(1.0, 1.0)),
    "n/b on the prior too": lambda: changed(weighted(N / B, N / B)),
    "prior forgotten": lambda: changed(weighted(0.0, N / B)),
    "without replacement": lambda: changed(without_replacement),
    "last item never drawn": lambda: changed(never_the_last),
    "b items the same": lambda: changed(one_item_for_all),
    "no noise of batches": lambda: changed(exact_gradient),
    "sign": lambda: changed(weighted(-1.0, -N / B)),
    "T for sqrt(T)": lambda: changed(batches(), temperature=T**2),
    "sqrt(η T) for sqrt(2 η T)": lambda: changed(batches(), temperature=T / 2),
    "key reused at every step": lambda: OneKey(batches()),
    "one key for all": lambda: changed(lambda key, x: batches()(jax.random.key(5), x)),
}


def test_the_mutants_machinery_unchanged_is_accepted():
    right = weighted(1.0, N / B)
    assert largest_z(positions(changed(right), FINITE), law_of_sgld(FINITE)) < LIMIT


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_sgld_is_rejected(name):
    assert largest_z(positions(MUTANTS[name](), FINITE), law_of_sgld(FINITE)) > LIMIT


def without_the_whole(key, x):
    right = control_variate(batches(), jnp.array(CENTER))
    return right(key, x) - right.gradient


def two_batches(key, x):
    one, other = jax.random.split(key)
    right = batches()
    center = jnp.array(CENTER)
    whole = jax.grad(lambda x: right.energy.of(right.energy.data, x))(center)
    apart = sum_over(right.draw(one), x) - sum_over(right.draw(other), center)
    return TAU * x + whole + N / B * apart


@pytest.mark.parametrize("wrong", [without_the_whole, two_batches, batches(), exact_gradient])
def test_a_wrong_control_variate_is_rejected(wrong):
    law = law_of_sgld(FINITE, centered=True)
    assert largest_z(positions(changed(wrong), FINITE), law) > LIMIT


# SGHMC ---------------------------------------------------------------------------------------

KNOWN = np.array([[20.0, 12.0], [12.0, 25.0]])


def sghmc(known=KNOWN, estimator=None, **arguments):
    given = {"mass": MASS, "temperature": T, **arguments}
    cov = None if known is None else jnp.array(known)
    return jl.sghmc(
        STEP, FRICTION, batches() if estimator is None else estimator, gradient_cov=cov, **given
    )


@pytest.mark.parametrize("num_steps", [1, FINITE, SETTLED])
@pytest.mark.parametrize("known", [None, KNOWN], ids=["nothing known", "known"])
def test_sghmc_has_the_moments_of_the_recursion(num_steps, known):
    made, law = phases(sghmc(known), num_steps), law_of_sghmc(num_steps, known=known)
    assert largest_z(made, law) < LIMIT


def test_known_noise_is_not_injected_again():
    """With constant noise of covariance V, the chain is as if there were no noise at all."""
    lower = np.linalg.cholesky(KNOWN)

    def noisy(key, x):
        zeta = jax.random.normal(key, x.shape, x.dtype)
        return jnp.array(A) @ x - jnp.array(RHS) + jnp.array(lower) @ zeta

    def quiet(key, x):
        return jnp.array(A) @ x - jnp.array(RHS)

    law = law_of_sghmc(FINITE, size=np.inf)
    assert largest_z(phases(sghmc(KNOWN, noisy), FINITE), law) < LIMIT
    assert largest_z(phases(sghmc(None, quiet), FINITE), law) < LIMIT
    assert largest_z(phases(sghmc(None, noisy), FINITE), law) > LIMIT


SGHMC_MUTANTS = {
    "known noise injected all the same": lambda: sghmc(None),
    "twice what is known": lambda: sghmc(2 * KNOWN),
    "its diagonal alone": lambda: sghmc(np.diag(np.diag(KNOWN))),
    "n/b forgotten": lambda: sghmc(estimator=weighted(1.0, 1.0)),
    "no noise of batches": lambda: sghmc(estimator=exact_gradient),
    "sign": lambda: sghmc(estimator=weighted(-1.0, -N / B)),
    "T for sqrt(T)": lambda: sghmc(temperature=T**2),
    "mass forgotten": lambda: sghmc(mass=1.0),
}


@pytest.mark.parametrize("name", SGHMC_MUTANTS)
def test_a_wrong_sghmc_is_rejected(name):
    made, law = phases(SGHMC_MUTANTS[name](), FINITE), law_of_sghmc(FINITE, known=KNOWN)
    assert largest_z(made, law) > LIMIT


# Both ----------------------------------------------------------------------------------------

BOTH = {
    "sgld": lambda estimator, eta=0.01: jl.sgld(eta, estimator),
    "sghmc": lambda estimator, eta=0.01: jl.sghmc(eta, 1.0, estimator),
}


@pytest.mark.parametrize("name", BOTH)
def test_other_data_and_step_sizes_compile_nothing(name):
    traces = []

    def counted(x, item):
        traces.append(None)
        return energy_of_item(x, item)

    def traces_of_a_run(scale, eta):
        data = {"a": scale * jnp.array(INPUTS), "y": jnp.array(TARGETS)}
        made = minibatch(counted, data, B)
        before = len(traces)
        kernel = BOTH[name](made, eta)
        jl.sample(jax.random.key(0), made.energy, kernel, jnp.ones((2, 2)), num_steps=4)
        return len(traces) - before

    assert traces_of_a_run(1.0, 0.01) > 0
    assert traces_of_a_run(2.0, 0.02) == 0


@pytest.mark.parametrize("name", BOTH)
def test_a_run_can_be_resumed(name):
    estimator = batches()
    kernel, starts = BOTH[name](estimator), jnp.ones((4, 2))
    energy, options = estimator.energy, {"observe": None}
    whole = jl.sample(jax.random.key(0), energy, kernel, starts, num_steps=9, **options)
    first = jl.sample(jax.random.key(0), energy, kernel, starts, num_steps=4, **options)
    rest = jl.resume(first.state, energy, kernel, num_steps=5, **options)
    np.testing.assert_array_equal(whole.position, rest.position)


@pytest.mark.parametrize("name", BOTH)
def test_no_affine_law_is_claimed(name):
    kernel = BOTH[name](batches())
    with pytest.raises(jl.NotAffineError, match=r"asks for Want\.KEY"):
        jl.exact.law(kernel, batches().energy, start(), 3)


@pytest.mark.parametrize("name", BOTH)
def test_an_estimator_is_callable(name):
    with pytest.raises(TypeError, match="estimator: expected a callable"):
        BOTH[name](1.0)


def test_more_noise_than_friction_takes_up_is_refused():
    with pytest.raises(ValueError, match="gradient_cov: its largest eigenvalue, 600"):
        sghmc(np.diag([1.0, 600.0]))
    with pytest.raises(ValueError, match="gradient_cov: not positive semi-definite"):
        sghmc(-KNOWN)
    with pytest.raises(ValueError, match="gradient_cov: of shape"):
        phases(sghmc(np.eye(3)), 1)


def test_noise_on_a_gradient_that_is_never_asked_for_is_refused():
    def estimator(key, x):
        return x

    for kernel in (jl.sgld(0.1, estimator), jl.sghmc(0.1, 1.0, estimator)):
        with pytest.raises(TypeError, match="takes its gradients from an estimator"):
            jl.gradient_noise(kernel, jnp.eye(1))
    with pytest.raises(TypeError, match="is not a kernel"):
        jl.gradient_noise("ula", jnp.eye(1))
