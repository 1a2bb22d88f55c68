#!/usr/bin/env bash
# The Monte Carlo standard error of the sd differs between versions of ArviZ, by a factor of 2 either way.
# Guess: mcse(method="sd") is the same in arviz 0.23 and in arviz-stats, which replaces it, and uses
# ess(method="sd"), the effective size of the squared deviations from the mean.
# Real: arviz 0.23 and arviz-stats from 1.3.2 on use that size; arviz-stats 0.8 to 1.3.1 uses the effective
# size of the draws themselves. Mean, median, quantiles, ess and nested R-hat are the same in all of them. On
# Python 3.11 pip installs 0.8.
# Versions: arviz 0.23.4 with arviz-stats 0.8.0, arviz-stats 1.3.1 and 1.3.2; Python 3.11 and 3.13.
# Seen: slowly wandering draws 0.0375, 0.0605, 0.0605, 0.0375; alternating draws 0.0173, 0.0112, 0.0112,
# 0.0173.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/old"
"$folder/old/bin/pip" install -q arviz==0.23.4 arviz-base==0.8.2 arviz-stats==0.8.0
for version in 1.3.1 1.3.2; do
  "${PYTHON313:-python3.13}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "arviz-stats==$version"
done
cat > "$folder/errors.py" <<'PY'
import sys

import numpy as np
from arviz_stats.base import array_stats

t, c = np.arange(100.0)[None], np.arange(4.0)[:, None]
slow = np.sin(0.1 * t + c) + 0.3 * np.cos(t**2 + c)
alternating = np.cos(np.pi * t) * (1 + np.sin(0.37 * t**2 + c) ** 2) + 0.1 * np.sin(t + c)
expected = {"squares": (0.0375, 0.0173), "draws": (0.0605, 0.0112)}


def check(name, of, mcse):
    found = [float(mcse(x, method="sd")) for x in (slow, alternating)]
    print(f"{name:<18} {found[0]:.4f} {found[1]:.4f}  by the effective size of the {of}")
    np.testing.assert_allclose(found, expected[of], atol=1e-4)
    np.testing.assert_allclose(mcse(slow, method="mean"), 0.140028, atol=1e-6)


if sys.argv[1] == "0.8.0":
    import arviz

    check("arviz 0.23.4", "squares", arviz.mcse)
of = "squares" if sys.argv[1] == "1.3.2" else "draws"
check(f"arviz-stats {sys.argv[1]}", of, array_stats.mcse)
PY
"$folder/old/bin/python" "$folder/errors.py" 0.8.0
for version in 1.3.1 1.3.2; do "$folder/$version/bin/python" "$folder/errors.py" "$version"; done
