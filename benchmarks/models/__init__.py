"""Posteriors of real data: energies of unconstrained positions, and what is known of them.

Thirteen are from posteriordb (Magnusson et al. 2025), as written there, with the moments of its
reference draws. Two more are among these in other coordinates: the centred eight schools and the
standardised kid scores. One is a Bayesian logistic regression on scikit-learn's breast-cancer data.
Stan's maps (logarithms, logits, logarithms of gaps) take constrained parameters to positions, and
the energy includes the log-Jacobian.

`ALL` has the functions that make them, and `OF_POSTERIORDB` those with a reference. Arrays have the
default floating dtype at the time of the call.
"""

from .densities import gaussian_mixture, gaussian_process
from .posterior import Posterior, Reference, uniform
from .regressions import (
    autoregression,
    earnings,
    kid_scores,
    kid_scores_as_written,
    kid_scores_interaction,
    kilpisjarvi,
    logistic_regression,
    mesquite,
    wide_design,
)
from .schools import eight_schools, eight_schools_centred
from .series import garch, hidden_markov, lotka_volterra

OF_POSTERIORDB = (
    autoregression,
    earnings,
    eight_schools,
    eight_schools_centred,
    garch,
    gaussian_mixture,
    gaussian_process,
    hidden_markov,
    kid_scores,
    kid_scores_as_written,
    kid_scores_interaction,
    kilpisjarvi,
    lotka_volterra,
    mesquite,
    wide_design,
)
ALL = (*OF_POSTERIORDB, logistic_regression)

__all__ = [
    "ALL",
    "OF_POSTERIORDB",
    "Posterior",
    "Reference",
    "autoregression",
    "earnings",
    "eight_schools",
    "eight_schools_centred",
    "garch",
    "gaussian_mixture",
    "gaussian_process",
    "hidden_markov",
    "kid_scores",
    "kid_scores_as_written",
    "kid_scores_interaction",
    "kilpisjarvi",
    "logistic_regression",
    "lotka_volterra",
    "mesquite",
    "uniform",
    "wide_design",
]
