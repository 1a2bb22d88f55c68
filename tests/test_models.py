"""The benchmarks' energies are those of their models, and finite wherever chains may start.

Each is compared with the model's text, written again with SciPy as a density of the reference's
quantities. A position's density is that of its quantities times the Jacobian of the map to them, by
autodiff. So the comparison covers transforms, their Jacobians and `quantities`.
"""

import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
from models.posterior import read
from models.series import populations
from scipy import stats


def normal(x, mean, sd):
    return stats.norm.logpdf(x, mean, sd).sum()


def autoregression(data, q):
    y, K = data["y"], data["K"]
    likelihood = sum(
        normal(y[t], q[0] + sum(q[k] * y[t - k] for k in range(1, K + 1)), q[-1])
        for t in range(K, data["T"])
    )
    return likelihood + normal(q[:-1], 0, 10) + stats.halfcauchy.logpdf(q[-1], scale=2.5)


def earnings(data, q):
    return normal(np.log(data["earn"]), q[0] + q[1] * np.array(data["height"]), q[2])


def eight_schools(data, q):
    theta, mu, tau = q[:8], q[8], q[9]
    prior = normal(theta, mu, tau) + normal(mu, 0, 5) + stats.halfcauchy.logpdf(tau, scale=5)
    return prior + normal(data["y"], theta, data["sigma"])


def garch(data, q):
    mu, alpha0, alpha1, beta1 = q
    y, s, total = data["y"], data["sigma1"], 0.0
    for t in range(len(y)):
        if t > 0:
            s = np.sqrt(alpha0 + alpha1 * (y[t - 1] - mu) ** 2 + beta1 * s**2)
        total += normal(y[t], mu, s)
    return total


def gaussian_mixture(data, q):
    mu, sigma, theta, y = q[:2], q[2:4], q[4], np.array(data["y"])
    each = [stats.norm.pdf(y, *pair) for pair in zip(mu, sigma, strict=True)]
    likelihood = np.log(theta * each[0] + (1 - theta) * each[1]).sum()
    prior = normal(mu, 0, 2) + normal(sigma, 0, 2) + stats.beta.logpdf(theta, 5, 5)
    return likelihood + prior


def gaussian_process(data, q):
    (rho, alpha, sigma), x = q, np.array(data["x"])
    covariance = alpha**2 * np.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + sigma * np.eye(len(x))
    prior = stats.gamma.logpdf(rho, 25, scale=1 / 4) + normal(alpha, 0, 2) + normal(sigma, 0, 1)
    return prior + stats.multivariate_normal.logpdf(data["y"], cov=covariance)


def hidden_markov(data, q):
    transitions, mu = np.array([q[:2], q[2:4]]), q[4:]
    log_scale, forward = 0.0, np.ones(2)
    for t, y in enumerate(data["y"]):
        arrived = forward if t == 0 else forward @ transitions
        forward = arrived * stats.norm.pdf(y, mu, 1)
        log_scale, forward = log_scale + np.log(forward.sum()), forward / forward.sum()
    return log_scale + normal(mu[0], 3, 1) + normal(mu[1], 10, 1)


def kid_scores(data, q):
    likelihood = normal(data["kid_score"], q[0] + q[1] * np.array(data["mom_iq"]), q[2])
    return likelihood + stats.halfcauchy.logpdf(q[2], scale=2.5)


def kid_scores_interaction(data, q):
    hs, iq = (np.array(data[name]) - np.mean(data[name]) for name in ("mom_hs", "mom_iq"))
    return normal(data["kid_score"], q[0] + q[1] * hs + q[2] * iq + q[3] * hs * iq, q[4])


def kilpisjarvi(data, q):
    alpha, beta, sigma = q
    prior = normal(alpha, data["pmualpha"], data["psalpha"])
    prior += normal(beta, data["pmubeta"], data["psbeta"])
    return prior + normal(data["y"], alpha + beta * np.array(data["x"]), sigma)


def logistic_regression(data, q):
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    logits = stats.zscore(features) @ q[:-1] + q[-1]
    return scipy.special.log_expit(np.where(labels, logits, -logits)).sum() + normal(q, 0, 1)


def lotka_volterra(data, q):
    theta, z_init, sigma = q[:4], q[4:6], q[6:]

    def velocity(t, z):
        return (theta[0] - theta[1] * z[1]) * z[0], (-theta[2] + theta[3] * z[0]) * z[1]

    times = [0, *data["ts"]]
    found = scipy.integrate.solve_ivp(velocity, (0, 20), z_init, "DOP853", times, rtol=1e-11)
    log_z, log_y = np.log(found.y.T), np.log([data["y_init"], *data["y"]])
    prior = normal(theta, [1, 0.05, 1, 0.05], [0.5, 0.05, 0.5, 0.05])
    prior += stats.lognorm.logpdf(z_init, 1, scale=10).sum()
    prior += stats.lognorm.logpdf(sigma, 1, scale=np.exp(-1)).sum()
    return prior + normal(log_y, log_z, sigma)


def mesquite(data, q):
    names = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")
    mean = q[0] + sum(q[1 + i] * np.array(data[name]) for i, name in enumerate(names))
    return normal(data["weight"], mean, q[-1])


def wide_design(data, q):
    prior = normal(q[:-1], 0, 10) + normal(q[-1], 0, 10)
    return prior + normal(data["y"], np.array(data["X"]) @ q[:-1], q[-1])


TEXTS = {
    "autoregression": ("arK-arK", autoregression),
    "earnings": ("earnings-logearn_height", earnings),
    "eight_schools": ("eight_schools-eight_schools_noncentered", eight_schools),
    "eight_schools_centred": ("eight_schools-eight_schools_noncentered", eight_schools),
    "garch": ("garch-garch11", garch),
    "gaussian_mixture": ("low_dim_gauss_mix-low_dim_gauss_mix", gaussian_mixture),
    "gaussian_process": ("gp_pois_regr-gp_regr", gaussian_process),
    "hidden_markov": ("hmm_example-hmm_example", hidden_markov),
    "kid_scores": ("kidiq-kidscore_momiq", kid_scores),
    "kid_scores_as_written": ("kidiq-kidscore_momiq", kid_scores),
    "kid_scores_interaction": (
        "kidiq_with_mom_work-kidscore_interaction_c",
        kid_scores_interaction,
    ),
    "kilpisjarvi": ("kilpisjarvi_mod-kilpisjarvi", kilpisjarvi),
    "logistic_regression": (None, logistic_regression),
    "lotka_volterra": ("hudson_lynx_hare-lotka_volterra", lotka_volterra),
    "mesquite": ("mesquite-mesquite", mesquite),
    "wide_design": ("sblrc-blr", wide_design),
}
SLOW = (models.lotka_volterra,)  # to compile
every_model = pytest.mark.parametrize("make", models.ALL, ids=lambda make: make.__name__)


def position_near(posterior, quantities):
    """The position whose quantities are nearest to these, in units of the reference's sd."""
    sd, found = posterior.reference.sd, jax.jit(posterior.quantities)
    jacobian = jax.jit(jax.jacobian(posterior.quantities))
    return scipy.optimize.least_squares(
        lambda x: (np.asarray(found(x)) - quantities) / sd,
        np.zeros(posterior.dim),
        lambda x: np.asarray(jacobian(x)) / sd[:, None],
        x_scale="jac",
    ).x


def positions(posterior, count):
    """Near the posterior: far from it a likelihood's rounding would hide what a prior does."""
    rng = np.random.default_rng(0)
    if posterior.reference is None:
        return posterior.prior(rng, count)
    mean, sd = posterior.reference.mean, posterior.reference.sd
    return [position_near(posterior, mean + sd * rng.uniform(-1, 1, len(sd))) for _ in range(count)]


@every_model
def test_the_density_is_that_of_the_text(make, x64):
    posterior = make()
    file, log_density = TEXTS[make.__name__]
    data = read(file)[0] if file else None
    jacobian = jax.jit(jax.jacobian(posterior.quantities))

    def expected(x):
        quantities, slopes = np.asarray(posterior.quantities(x)), np.asarray(jacobian(x))
        if make is models.hidden_markov:  # a row's second probability is 1 less its first
            slopes = slopes[[0, 2, 4, 5]]
        return log_density(data, quantities) + np.linalg.slogdet(slopes)[1]

    points = [jnp.asarray(x) for x in positions(posterior, 4)]
    constants = np.array([expected(x) + float(posterior.energy(x)) for x in points])
    # The steps of Lotka–Volterra's equation leave an error that the others do not have.
    tolerance = 1e-4 if make is models.lotka_volterra else 1e-8
    assert np.abs(constants - constants[0]).max() < tolerance


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, marks=[pytest.mark.slow] if make in SLOW else [], id=make.__name__)
        for make in models.ALL
    ],
)
def test_energies_and_gradients_are_finite_where_chains_start(make):
    posterior = make()
    value = jax.jit(jax.vmap(jax.value_and_grad(posterior.energy)))
    rng = np.random.default_rng(0)
    for starts in (models.uniform(posterior.dim), posterior.prior):
        energies, gradients = value(jnp.asarray(starts(rng, 500), jnp.float32))
        assert energies.dtype == jnp.float32
        assert np.isfinite(energies).all()
        assert np.isfinite(gradients).all()


@pytest.mark.parametrize("make", models.OF_POSTERIORDB, ids=lambda make: make.__name__)
def test_references_are_whole(make):
    posterior = make()
    reference = posterior.reference
    for part in (reference.mean, reference.mean_error, reference.square_error, reference.sd):
        assert part.shape == (len(posterior.names),)
        assert np.isfinite(part).all()
    # 10,000 draws, near independent: an error of 0.01 sd, or somewhat more.
    assert np.all(reference.mean_error > 0.0099 * reference.sd)
    assert np.all(reference.mean_error < 0.03 * reference.sd)


def test_twice_the_steps_leave_the_populations_as_they_are(x64):
    reference = models.lotka_volterra().reference
    offsets = np.random.default_rng(0).uniform(-3, 3, (100, 8))
    near = reference.mean + reference.sd * offsets

    def solved(steps_a_year):
        return jax.vmap(lambda q: populations(q[:4], jnp.log(q[4:6]), 20, steps_a_year))(near)

    steps = models.series.STEPS_A_YEAR
    assert np.abs(solved(steps) - solved(2 * steps)).max() < 1e-6
