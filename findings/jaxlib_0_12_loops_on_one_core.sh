#!/usr/bin/env bash
# On the CPU jaxlib 0.12 runs a `lax.fori_loop` over large arrays on one core, however many there are.
# Guess: as in earlier releases, the elementwise work of each turn is divided among all cores.
# Real: a pass of XLA, small-while-loop-hoisting, makes one function of a whole loop, whatever the size of its
# arrays, and a function runs on one core. In 0.11.2 it does so only for loops that touch less than a kilobyte.
# The same work outside of a loop is divided. Compiled without that pass, the loop is too.
# Versions: jax and jaxlib 0.11.2 and 0.12.0.1, Python 3.13.
# Seen: 0.11.2: the loop is a call of one function: False; 0.12.0.1: True, and without the pass False. On two
# cores 50 turns over a million numbers took 17 ms with 0.12.0.1, and 9 without the pass or with 0.11.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/loop.py" <<'PY'
import sys
import time

import jax
import jax.numpy as jnp
from jax import lax

x = jnp.ones(1_000_000)


def turns(x):
    return lax.fori_loop(0, 50, lambda _, x: x + 0.1 * jnp.tanh(x), x)


for title, options, wanted in (
    ("as it is", {}, sys.argv[1] == "one"),
    ("without the pass", {"xla_disable_hlo_passes": "small-while-loop-hoisting"}, False),
):
    program = jax.jit(turns, compiler_options=options)
    found = "xla_cpu_small_call" in program.lower(x).compile().as_text()
    program(x).block_until_ready()
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        program(x).block_until_ready()
        times.append(time.perf_counter() - begin)
    print(f"{jax.__version__} {title}: one function: {found}, {1e3 * min(times):.1f} ms")
    assert found == wanted
PY
for release in "0.11.2 many" "0.12.0.1 one"; do
  read -r version cores <<< "$release"
  "${PYTHON:-python3.13}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "jax==$version" "jaxlib==$version"
  JAX_PLATFORMS=cpu "$folder/$version/bin/python" "$folder/loop.py" "$cores"
done
