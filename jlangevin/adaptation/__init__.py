"""Warm-up: find hyper-parameters by running, and fix them for the run that counts.

A kernel that keeps adapting to its own past has another law. So adaptation is a separate run:
`warm_up` returns a kernel with fixed hyper-parameters and the state to continue from.

    warm_up     what a user calls
    phases      chains come in, settle, and share one step size or keep their own
    ensemble    the chains as the host sees them, piece by piece
    moving      a kernel with a step size for each chain, which adapts
    length      how long trajectories should be
    metric      the preconditioner, from positions and gradients
    settling    whether chains have settled, and which stayed behind
    verdict     the result, in words
    within      for kernels that accept everything: a step size whose bias is stated
    curvature   for kernels that accept everything: the largest eigenvalue of ∇²E
    step_size   for `ula` on a quadratic energy: the step whose bias is given
"""

from jlangevin._core.listing import listing
from jlangevin.adaptation.curvature import curvature
from jlangevin.adaptation.step_size import step_size_for
from jlangevin.adaptation.verdict import Verdict
from jlangevin.adaptation.warm_up import WarmUp, warm_up
from jlangevin.adaptation.within import WithinBias, warm_up_within

__all__ = [
    "Verdict",
    "WarmUp",
    "WithinBias",
    "curvature",
    "step_size_for",
    "warm_up",
    "warm_up_within",
]

__dir__ = listing(__all__)
