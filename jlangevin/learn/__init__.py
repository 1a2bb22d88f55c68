"""Learning energies and scores from data: losses, persistent chains, and a small training loop.

One convention, as everywhere: p ∝ exp(-E), and s = -∇E is the score. Each loss is to be made small;
after that E is low at the data, and -∇E points to them. Losses are pure functions

    (key, energy, batch, …) -> (loss, Aux)

differentiable in the leaves of the energy. By what they need of a model:

    chains          `contrastive_divergence`, `persistent_contrastive_divergence`
    exact draws     `maximum_likelihood`
    the score       `implicit_score_matching`, `sliced_score_matching`,
                    `denoising_score_matching`, `multiscale_score_matching`
    values alone    `noise_contrastive`, `energy_discrepancy`

The files: `base` (batches and what all losses share), `negatives` (chains and the two phases),
`carried` (velocities that go on), one for each loss or two, `model` (which leaves are parameters),
`updates` (the compiled loop), `fit`.
"""

from jlangevin._core.listing import listing
from jlangevin.learn.base import Aux
from jlangevin.learn.contrastive import contrastive_divergence
from jlangevin.learn.denoising import denoising_score_matching, multiscale_score_matching
from jlangevin.learn.discrepancy import energy_discrepancy
from jlangevin.learn.fit import Fit, fit
from jlangevin.learn.implicit import implicit_score_matching
from jlangevin.learn.likelihood import maximum_likelihood
from jlangevin.learn.noise_contrastive import noise_contrastive
from jlangevin.learn.persistent import Buffer, persistent_contrastive_divergence, replay_buffer
from jlangevin.learn.sliced import sliced_score_matching

__all__ = [
    "Aux",
    "Buffer",
    "Fit",
    "contrastive_divergence",
    "denoising_score_matching",
    "energy_discrepancy",
    "fit",
    "implicit_score_matching",
    "maximum_likelihood",
    "multiscale_score_matching",
    "noise_contrastive",
    "persistent_contrastive_divergence",
    "replay_buffer",
    "sliced_score_matching",
]

__dir__ = listing(__all__)
