"""What estimators refuse; their moments are tested with the kernels that use them."""

import jax
import jax.numpy as jnp
import pytest

from jlangevin.estimators import control_variate, minibatch


def key():
    return jax.random.key(0)


def scalar(x, item):
    return jnp.sum((x - item) ** 2)


def vector(x, item):
    """The sum over the coordinates has been forgotten."""
    return (x - item) ** 2


@pytest.mark.parametrize(
    "question",
    [
        lambda batches, x: batches(key(), x),
        lambda batches, x: batches.energy(x),
        control_variate,
    ],
    ids=["estimate", "energy", "control variate"],
)
@pytest.mark.parametrize("value", [vector, lambda x, item: {"value": scalar(x, item)}])
def test_an_energy_of_an_item_that_is_not_a_scalar_is_refused_and_not_summed(value, question):
    batches = minibatch(value, jnp.ones((5, 2)), 2)
    with pytest.raises(ValueError, match="energy_of_item: expected a scalar for one item, got"):
        question(batches, jnp.zeros(2))


def test_so_is_a_prior():
    batches = minibatch(scalar, jnp.ones((5, 2)), 2, prior=jnp.square)
    with pytest.raises(ValueError, match=r"prior: expected a scalar .* got shape \(2,\); sum over"):
        batches(key(), jnp.zeros(2))


def test_both_estimators_have_the_energy_that_they_estimate():
    batches = minibatch(lambda x, y: (x - y) ** 2, jnp.arange(4.0), 2)
    control = control_variate(batches, 1.5)
    assert control.energy(jnp.float32(0.0)) == batches.energy(jnp.float32(0.0)) == 14.0
