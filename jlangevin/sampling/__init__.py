"""The driver: `sample` and `resume`, from arguments to compiled programs and back.

A call goes down this list, and its result comes back as a `Run`:

    chunks, chunk_results
                `sample_in_chunks`, which calls `sample` for one chunk of chains after the other
    driver      `sample` and `resume`
    arguments, start, layout, memory
                checks of the arguments: how far, from where, on which devices, whether it fits
    blocks      the host's loop over blocks of steps, between which there is time for a progress
                bar, a checkpoint or Ctrl-C
    progress, checkpoint, fingerprint, report
                what happens between the blocks and at the end
    program     the compiled programs: for the start, the steps and the reducers' results
    counted, fixed, paired
                the loop over steps; their number is data, or is static
    fused, unrolled, elements
                all steps as one kernel for a card, made of the elements of a chain's arrays
    steps       one step of all chains, and the noise of a block of steps
    health      which chains diverged or met faults of the energy, as numbers
    state       the objects that are passed along

No result depends on where a run is cut into blocks.
"""

from jlangevin.kernels.base import position
from jlangevin.sampling.chunk_results import Chunked
from jlangevin.sampling.chunks import sample_in_chunks
from jlangevin.sampling.driver import resume, sample
from jlangevin.sampling.run import Run
from jlangevin.sampling.state import SamplerState

__all__ = [
    "Chunked",
    "Run",
    "SamplerState",
    "position",
    "resume",
    "sample",
    "sample_in_chunks",
]
