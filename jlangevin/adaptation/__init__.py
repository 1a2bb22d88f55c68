"""Warm-up: hyper-parameters found by running, and fixed for the run that counts.

A kernel that goes on changing with its own past has another law. So adaptation is a run of its own:
`warm_up` hands back a kernel with fixed hyper-parameters and the state to go on from.

    phases      `warm_up`: chains come in, settle, and share one step size
    ensemble    the chains as the host sees them, piece by piece
    moving      a kernel whose step size moves in each chain by itself
    length      how long trajectories should be
    metric      the preconditioner, from positions and gradients
    settling    whether chains have settled, and which stayed behind
    verdict     what is said of all that
    curvature   for kernels that accept everything: the largest eigenvalue of ∇²E
    step_size   for `ula` on a quadratic energy: the step whose bias is given
"""

from jlangevin._core.listing import listing
from jlangevin.adaptation.curvature import curvature
from jlangevin.adaptation.phases import WarmUp, warm_up
from jlangevin.adaptation.step_size import step_size_for
from jlangevin.adaptation.verdict import Verdict

__all__ = ["Verdict", "WarmUp", "curvature", "step_size_for", "warm_up"]

__dir__ = listing(__all__)
