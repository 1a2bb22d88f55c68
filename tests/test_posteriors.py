"""Posteriors of real data against moments that others computed, from starts drawn from the prior.

400 chains, warmed up and run; a mean over them has the error of 400 independent chains' means. Each
of the 40 moments must lie within 5 errors, those of the reference and of the run together: by
chance one fails with a probability of 6e-7.
"""

import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest

import jlangevin as jl

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not models.FOLDER.is_dir(), reason="the reference posteriors are not beside this checkout"
    ),
]

NUM_CHAINS = 400
KERNELS = {
    "mala": (jl.mala(1e-3), 0.574, 8_000),
    "malt": (jl.malt(1e-2, 1.0, 4), 0.7, 2_000),
}


def chain_means(make, kernel, target, num_steps):
    """Of each chain, the mean of the quantities and of their squares: (chains, 2, k)."""
    posterior = make()
    starts = jnp.asarray(posterior.prior(np.random.default_rng(0), NUM_CHAINS))
    found = jl.warm_up(
        jax.random.key(0), posterior.energy, kernel, starts,
        num_steps=num_steps // 2, precondition="dense", target_acceptance=target,
    )  # fmt: skip

    def seen(state):
        quantities = posterior.quantities(state.position)
        return jnp.stack([quantities, quantities**2])

    run = jl.resume(
        found.state, posterior.energy, found.kernel,
        num_steps=num_steps, burn_in=num_steps // 4, observe=None,
        reducers=jl.reducers.expectation(seen),
    )  # fmt: skip
    assert run.info.num_divergent.sum() == 0
    assert run.info.acceptance_rate.min() > 0.2
    return posterior, np.asarray(run.summary)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("make", models.OF_POSTERIORDB, ids=lambda make: make.__name__)
def test_the_moments_are_those_of_the_reference(make, kernel, x64):
    posterior, means = chain_means(make, *KERNELS[kernel])
    reference = posterior.reference
    error = means.std(axis=0, ddof=1) / NUM_CHAINS**0.5
    z_mean = (means.mean(axis=0)[0] - reference.mean) / np.hypot(error[0], reference.mean_error)
    z_square = (means.mean(axis=0)[1] - reference.square) / np.hypot(
        error[1], reference.square_error
    )
    worst = dict(zip(posterior.names, zip(z_mean, z_square, strict=True), strict=True))
    assert np.abs([z_mean, z_square]).max() < 5, worst
    # The run is not what the comparison's error comes from.
    assert np.all(error[0] < 2 * reference.mean_error)


def test_a_jacobian_counted_twice_is_noticed(x64):
    def twice():
        right = models.eight_schools()
        return models.dataclasses.replace(right, energy=lambda x: right.energy(x) - x[9])

    posterior, means = chain_means(twice, *KERNELS["malt"])
    z = (means.mean(axis=0)[0] - posterior.reference.mean) / posterior.reference.mean_error
    assert np.abs(z).max() > 5
