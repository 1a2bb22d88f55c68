#!/usr/bin/env bash
# BlackJAX's integrator `yoshida` is of order 2 and has three stages; its `omelyan` is of order 4.
# Guess: `yoshida` is Yoshida's composition (1990) of three leapfrogs, one of them backwards, of order 4.
# Real: its energy error falls by 4 where the step is halved, as the leapfrog's does, and not by 16. Its
# coefficients are all positive, and are those of the three-stage BCSS scheme of Blanes, Casas and
# Sanz-Serna (2014), made for small mean errors at large steps. `isokinetic_yoshida` has the same ones.
# Versions: blackjax 1.7.1, jax 0.10.2, Python 3.11.
# Seen: orders velocity_verlet 2.01, mclachlan 2.00, yoshida 2.00, omelyan 4.00.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q blackjax==1.7.1 jax==0.10.2
cat > "$folder/orders.py" <<'PY'
import blackjax.mcmc.integrators as integrators
import blackjax.mcmc.metrics as metrics
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
kinetic = metrics.default_metric(jnp.ones(1)).kinetic_energy


def log_density(x):
    return -jnp.sum(x**4) / 4


def worst_error(name, h):
    """Of the energy, over a time of 3."""
    step = jax.jit(getattr(integrators, name)(log_density, kinetic))
    x = jnp.ones(1)
    state = integrators.IntegratorState(x, x / 2, *jax.value_and_grad(log_density)(x))

    def energy(state):
        return float(0.5 * jnp.sum(state.momentum**2) - state.logdensity)

    begun, errors = energy(state), []
    for _ in range(round(3 / h)):
        state = step(state, h)
        errors.append(abs(energy(state) - begun))
    return max(errors)


for name, order in (("velocity_verlet", 2), ("mclachlan", 2), ("yoshida", 2), ("omelyan", 4)):
    found = np.log2(worst_error(name, 0.1) / worst_error(name, 0.05))
    print(f"{name:<16} order {found:.2f}")
    np.testing.assert_allclose(found, order, atol=0.1)
assert min(integrators.yoshida_coefficients) > 0.1
np.testing.assert_allclose(integrators.yoshida_coefficients[:2], (0.11888, 0.29620), atol=1e-5)
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/orders.py"
