"""The driver: `sample` and `resume`, from arguments to compiled programs and back.

A call goes down this list, and its result comes back as a `Run`:

    driver      `sample` and `resume`
    arguments, start, layout, memory
                what is asked for, checked: how far, from where, on which devices, whether it fits
    blocks      the host's loop: pieces between which there is time for a progress bar, a
                checkpoint or Ctrl-C
    progress, checkpoint, fingerprint, report
                what happens there and in the end
    program     the compiled programs: of the start, of the steps, of the reducers' results
    counted, fixed
                the loop over steps, whose number is data or is compiled for
    steps       one step of all chains, and the noise of a block of steps
    trouble     chains that something is wrong with, in numbers
    state       what is passed along

No result depends on where a run is cut.
"""

from jlangevin.kernels.base import position
from jlangevin.sampling.driver import resume, sample
from jlangevin.sampling.run import Run
from jlangevin.sampling.state import SamplerState

__all__ = ["Run", "SamplerState", "position", "resume", "sample"]
