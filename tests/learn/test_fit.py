"""The training loop: models of every library, no recompilation, stops and new starts."""

import functools

import chex
import jax
import jax.numpy as jnp
import networks
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import learn

KEY = jax.random.key(0)
DATA = jax.random.normal(jax.random.key(1), (64, 2))
ADAM, SMALL = optax.adam(0.05), optax.adam(0.01)
START = jl.Gaussian(jnp.zeros(2), 4.0 * jnp.eye(2))
CHAINS = functools.partial(
    learn.persistent_contrastive_divergence, kernel=jl.ula(0.05), num_steps=3
)


def bowl(parameters, x):
    return 0.5 * jnp.sum(jnp.exp(parameters["log_precision"]) * (x - parameters["mean"]) ** 2)


def energy():
    return Partial(bowl, {"log_precision": jnp.zeros(2), "mean": jnp.ones(2)})


def buffer():
    return learn.replay_buffer(jax.random.key(2), START, 32)


def fit(key=KEY, energy_=None, data=DATA, loss=CHAINS, optimizer=None, **options):
    given = {"num_updates": 12, "batch_size": 16, "every": 4, "buffer": buffer()} | options
    return learn.fit(
        jax.random.clone(key),
        energy() if energy_ is None else energy_,
        data,
        loss,
        ADAM if optimizer is None else optimizer,
        **given,
    )


def same(first, second):
    chex.assert_trees_all_equal(first.energy.args, second.energy.args)
    chex.assert_trees_all_equal(first.buffer, second.buffer)
    chex.assert_trees_all_equal(first.history, second.history)


@pytest.fixture(scope="module")
def whole():
    return fit()


@pytest.mark.slow
def test_a_fit_has_the_energy_and_the_metrics_of_every_update(whole):
    assert whole.num_updates == 12
    assert {len(each) for each in whole.history.values()} == {12}
    assert set(whole.history) == {
        *("loss", "gradient_norm", "energy_data", "energy_negatives"),
        *("mean_distance", "sd_distance", "num_divergent"),
    }
    assert not np.array_equal(whole.energy.args[0]["mean"], jnp.ones(2))
    assert "12 updates" in repr(whole)


@pytest.mark.parametrize("name", networks.LIBRARIES)
def test_models_of_every_library_are_learned(name):
    """After learning they are energies as before, which can be sampled, with a lower loss."""
    model = networks.LIBRARIES[name]()
    loss = functools.partial(learn.denoising_score_matching, sigma=0.3)
    data = 1.5 + 0.5 * DATA
    learned = fit(
        energy_=model,
        loss=loss,
        buffer=None,
        data=data,
        num_updates=100,
        batch_size=None,
        every=100,
        optimizer=SMALL,
    )
    before, after = (loss(jax.random.key(7), each, data)[0] for each in (model, learned.energy))
    assert after < 0.95 * before
    assert np.isfinite(networks.sample(learned.energy).draws).all()


def test_another_key_and_other_parameters_compile_nothing():
    fit()  # also after imports of other tests, some of which make JAX 0.12 compile all again
    other = jax.tree.map(lambda leaf: leaf + 1, energy())
    key, chains = jax.random.key(9), buffer()
    with jl.verify.assert_no_recompilation():
        learn.fit(
            key, other, DATA, CHAINS, ADAM,
            num_updates=8, batch_size=16, every=4, buffer=chains,
        )  # fmt: skip


@pytest.mark.slow
def test_a_loop_of_ones_own_is_traced_once_in_a_thousand_updates():
    optimizer = optax.adam(1e-2)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def update(key, parameters, state, buffer):
        def loss(parameters):
            return CHAINS(key, Partial(bowl, parameters), DATA, buffer)

        slopes, aux = jax.grad(loss, has_aux=True)(parameters)
        with jax.numpy_dtype_promotion("standard"):
            changes, state = optimizer.update(slopes, state)
        return optax.apply_updates(parameters, changes), state, aux.buffer

    parameters, chains = energy().args[0], buffer()
    state = optimizer.init(parameters)
    for number in range(1_000):
        key = jax.random.fold_in(KEY, number)
        parameters, state, chains = update(key, parameters, state, chains)
        if number == 1:
            watched = jl.verify.assert_no_recompilation()
            watched.__enter__()
    watched.__exit__(None, None, None)
    assert np.isfinite(parameters["mean"]).all()


def test_blocks_change_nothing(whole):
    same(whole, fit(every=5))


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(whole, tmp_path):
    def die(fit):
        if fit.num_updates == 8:
            raise SystemError

    with pytest.raises(SystemError):
        fit(checkpoint=tmp_path, callback=die)
    begun = []
    again = fit(checkpoint=tmp_path, callback=lambda fit: begun.append(fit.num_updates))
    assert begun == [12]
    same(whole, again)
    with pytest.raises(jl.CheckpointError, match="its data is"):
        fit(checkpoint=tmp_path, data=DATA + 1)


def test_progress_shows_the_loss(capfd):
    fit(progress="always")
    bar = capfd.readouterr().err
    assert "12.0/12.0" in bar
    assert "loss=" in bar


def test_the_callback_stops_learning(whole):
    early = fit(callback=lambda fit: fit.num_updates >= 8)
    assert early.stopped
    assert early.num_updates == 8
    np.testing.assert_array_equal(early.history["loss"], whole.history["loss"][:8])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_the_last_good_parameters(whole):
    def fails(key, energy, batch, buffer):
        """From the sixth update on, where the mean has moved so far."""
        loss, aux = CHAINS(key, energy, batch, buffer)
        mean = energy.args[0]["mean"]
        return jnp.where(jnp.abs(mean[0] - 1) > limit, jnp.nan, loss), aux

    steps = []
    fit(every=1, callback=lambda fit: steps.append(fit.energy.args[0]))
    limit = jnp.abs((steps[4]["mean"][0] + steps[5]["mean"][0]) / 2 - 1)
    with pytest.raises(
        jl.NonFiniteLossError, match=r"update 6 is not finite.*fit\.energy"
    ) as error:
        fit(loss=fails)
    assert error.value.step == error.value.fit.num_updates == 6
    assert np.isnan(error.value.loss)
    chex.assert_trees_all_equal(error.value.fit.energy.args[0], steps[5])
    assert len(error.value.fit.history["loss"]) == 6


def test_chains_that_diverge_stop_learning_too():
    steep = Partial(lambda a, x: a * jnp.sum(x**4), jnp.ones(()))
    loss = functools.partial(
        learn.persistent_contrastive_divergence, kernel=jl.ula(0.5), num_steps=20
    )
    with pytest.raises(jl.NonFiniteLossError, match="update 0") as error:
        fit(energy_=steep, loss=loss)
    assert error.value.fit.energy.args[0] == 1


def test_only_what_is_asked_for_is_learned():
    learned = fit(train=lambda name: name.endswith("mean"))
    parameters = learned.energy.args[0]
    np.testing.assert_array_equal(parameters["log_precision"], 0)
    assert not np.array_equal(parameters["mean"], jnp.ones(2))


def test_ctrl_c_returns_what_is_done(whole, monkeypatch):
    module = __import__("sys").modules["jlangevin.learn.fit"]
    updates, calls = module.updates, []

    def interrupted(*args, **options):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return updates(*args, **options)

    monkeypatch.setattr(module, "updates", interrupted)
    with pytest.warns(jl.InterruptedWarning, match="after 8 of 12 updates"):
        partly = fit()
    assert partly.interrupted
    np.testing.assert_array_equal(partly.history["loss"], whole.history["loss"][:8])


@pytest.mark.slow
def test_a_learned_multiscale_score_is_sampled_by_annealing():
    """Two modes of weights 0.75 and 0.25, far apart: a network learns them at all levels, and both
    samplers give the weights, which Langevin steps at the last level alone would not."""
    centers = np.array([[2.0, 0.0], [-2.0, 0.0]])
    key = jax.random.key(3)
    rows = (np.arange(4_000) % 4 == 0).astype(int)
    data = jnp.asarray(centers[rows], float) + 0.2 * jax.random.normal(key, (4_000, 2))
    sigmas = jnp.geomspace(4.0, 0.1, 12)
    keys = jax.random.split(jax.random.key(4), 3)
    sizes = [(3, 64), (64, 64), (64, 2)]
    weights = [
        (jax.random.normal(k, size) / np.sqrt(size[0]), jnp.zeros(size[1]))
        for k, size in zip(keys, sizes, strict=True)
    ]

    def score(weights, x, sigma):
        h = jnp.concatenate([x / jnp.sqrt(1 + sigma**2), jnp.log(sigma)[None]])
        for number, (w, b) in enumerate(weights):
            h = jnp.sum(h[:, None] * w, axis=0) + b
            h = jax.nn.silu(h) if number < 2 else h
        return (h - x / jnp.sqrt(4 + sigma**2)) / sigma

    model = jl.scores.level_score(Partial(score, weights), 1.0)
    learned = learn.fit(
        jax.random.key(5),
        model,
        data,
        functools.partial(learn.multiscale_score_matching, sigmas=sigmas),
        optax.adam(3e-3),
        num_updates=2_000,
        batch_size=256,
    )
    wide = jl.Gaussian(jnp.zeros(2), 16.0 * jnp.eye(2))
    finely = jnp.geomspace(4.0, 0.1, 100)
    for kernel, steps in (
        (jl.annealed(sigmas, 40, 2e-3), 480),
        (jl.predictor_corrector(finely, 2e-3), 99),
    ):
        run = jl.sample(
            jax.random.key(6), learned.energy, kernel, wide,
            num_steps=steps, num_chains=2_000, observe=None,
        )  # fmt: skip
        x = np.asarray(run.position)
        assert abs(np.mean(x[:, 0] > 0) - 0.75) < 0.1
        distance = np.linalg.norm(x[:, None] - centers[None], axis=2).min(axis=1)
        assert np.mean(distance < 1.0) > 0.95
