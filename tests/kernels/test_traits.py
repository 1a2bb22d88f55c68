"""The traits of kernels, those of a kernel that states none, and the old names."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels import PredictorCorrector, Underdamped, UnderdampedState
from jlangevin.kernels.around import Around
from jlangevin.kernels.traits import Convertible, Traits, convert_state
from jlangevin.noise import Want

UNIT = jl.domains.box(0.0, 1.0)


def energy(x):
    return jnp.sum(x**2) / 2


class Place(NamedTuple):
    position: Any


class Own(NamedTuple):
    """A user's kernel, with nothing but what a kernel needs."""

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return Place(position)

    def step(self, energy, state, noise):
        return Place(state.position + noise), jl.Info()


def having(**members):
    return type("Having", (Own,), members)()


@pytest.mark.parametrize(
    ("members", "traits"),
    [
        ({}, {}),
        ({"by_value": True}, {"by_value": True}),
        ({"by_value": False}, {}),
        ({"counts_steps": True}, {"counts_steps": True}),
        ({"estimator": sum}, {"estimates": True}),
        ({"estimator": None}, {}),
        ({"domain": UNIT}, {"walled": True}),
        ({"step_size": 0.1}, {"has_step_size": True}),
        ({"friction": 0.0}, {"has_friction": True}),
        ({"temperature": jnp.ones(())}, {"has_temperature": True}),
        ({"temperature": 0.0}, {"has_temperature": True}),
        ({"sigma": jl.Schedule(jnp.exp)}, {"by_level": True}),
        ({"convert_state": lambda *_: None}, {"converts": True}),
        ({"adopt": lambda *_: None}, {"converts": True}),
        ({"proposal": lambda *_: None}, {"proposes": True}),
        ({"kinetic": "thermal"}, {"kinetic": "thermal"}),
        ({"inverse_mass": 1.0}, {"kinetic": "thermal"}),
        ({"decoherence_length": None}, {"kinetic": "isokinetic"}),
        ({"inverse_mass": 1.0, "kinetic": None}, {}),
    ],
)
def test_a_kernel_says_what_it_is_by_its_members(members, traits):
    assert Traits.of(having(**members)) == Traits(**traits)


def test_a_kernel_around_another_has_its_traits_but_takes_no_other_temperature():
    inner = jl.malt(0.1, 1.0, 2)
    assert Traits.of(inner) == Traits(
        by_value=True,
        has_step_size=True,
        has_friction=True,
        has_temperature=True,
        converts=True,
        kinetic="thermal",
    )
    assert Traits.of(Around(inner)) == Traits(by_value=True, kinetic="thermal")
    assert Traits.own(Around(inner)) == Traits()
    assert Traits.of(Around(jl.reflected(0.1, UNIT))) == Traits(walled=True)
    assert Traits.of(Around(jl.sgld(0.1, lambda key, x: x))) == Traits(estimates=True)
    assert Traits.of(Around(jl.coupled(Own(), 1, how="common"))) == Traits(counts_steps=True)


def test_a_kernel_around_another_is_the_other_unless_it_says_otherwise():
    inner = jl.underdamped(0.1, 1.0, temperature=2.0)
    around = Around(inner)
    x, z = jnp.ones(2), jnp.array([0.3, -0.7])
    assert (around.init_noise, around.step_noise) == (inner.init_noise, inner.step_noise)
    state, same = (k.step(energy, k.init(energy, x, z), (z,))[0] for k in (around, inner))
    for a, b in zip(state, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_kernels_that_take_no_other_temperature_do_not_say_so():
    kernel = jl.predictor_corrector([2.0, 1.0], 0.1)
    assert isinstance(kernel, PredictorCorrector)
    assert not Traits.of(kernel).converts
    assert not isinstance(kernel, Convertible)


# Another name -------------------------------------------------------------------------------


class Old(Own):
    """A kernel with only the old name."""

    temperature = 1.0

    def adopt(self, energy, state, other):
        return Place(state.position + 1)


@pytree_dataclass
class OldUnderdamped(Underdamped):
    """A kernel that overrides the old name."""

    def adopt(self, energy, state, other):
        return state._replace(velocity=0 * state.velocity)


def thermal(temperature):
    return jl.underdamped(0.1, 1.0, temperature=temperature)


STATE = UnderdampedState(jnp.ones(2), jnp.ones(2), jnp.ones(2))


def test_a_kernel_with_adopt_alone_still_works_and_is_told_the_other_name():
    with pytest.warns(
        DeprecationWarning, match=r"Old.adopt is deprecated.*convert_state"
    ) as caught:
        assert jl.tempered(Old(), [1.0, 2.0]).kernel == Old()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    found = convert_state(Old(), energy, Place(jnp.zeros(2)), Old())
    np.testing.assert_array_equal(found.position, 1)


def test_a_subclass_that_has_overridden_adopt_is_asked_by_that_name():
    fields = {f.name: getattr(thermal(1.0), f.name) for f in dataclasses.fields(Underdamped)}
    kernel = OldUnderdamped(**fields)
    with pytest.warns(DeprecationWarning, match=r"OldUnderdamped.adopt is deprecated"):
        jl.tempered(kernel, [1.0, 2.0])
    np.testing.assert_array_equal(convert_state(kernel, energy, STATE, kernel).velocity, 0)


def test_adopt_of_the_librarys_kernels_is_convert_state():
    with pytest.warns(DeprecationWarning, match="adopt is deprecated.*convert_state"):
        found = thermal(4.0).adopt(energy, STATE, thermal(1.0))
    np.testing.assert_array_equal(found.velocity, 2)


def test_apart_of_a_preconditioner_is_unmultiplied():
    root = jl.kernels.Dense(jnp.array([[1.0, 0.0], [2.0, 3.0]]))
    with pytest.warns(DeprecationWarning, match="apart is deprecated.*unmultiplied"):
        scales, rest = root.apart(jnp.ones(2))
    np.testing.assert_array_equal(scales, 1)
    np.testing.assert_array_equal(rest, [1, 5])


# Couplings ----------------------------------------------------------------------------------


class Wanders(NamedTuple):
    """A user's random walk, with a proposal for a reflection."""

    step_size: Any

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return Place(position)

    def step(self, energy, state, noise):
        return Place(self.proposal(energy, state).drawn(noise)), jl.Info()

    def proposal(self, energy, state):
        still = jnp.zeros_like(state.position)
        return jl.kernels.proposal.Proposal(state.position, still, self.step_size, 1.0)


def test_a_kernel_of_ones_own_is_reflected_by_its_proposal():
    """Reflected in the middle between them: along the gap the steps are opposite."""
    pair = jl.coupled(Wanders(0.5), 1)
    state = pair.init(energy, jnp.zeros(2), None)
    state = dataclasses.replace(state, lagging=Place(jnp.array([9.0, 0.0])), steps=jnp.int32(5))
    moved, _ = pair.step(energy, state, (jnp.array([0.3, -0.7]), jnp.array(0.5)))
    np.testing.assert_allclose(moved.leading.position, [0.3, -0.7], rtol=1e-6)
    np.testing.assert_allclose(moved.lagging.position, [8.7, -0.7], rtol=1e-6)
