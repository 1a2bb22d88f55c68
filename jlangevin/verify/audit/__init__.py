"""A battery of tests for any sampler: which convention it follows, and what is wrong with it.

A sampler is a function `draw(key, energy, step_size, temperature, init, num_steps)`. Its draws are
tested against

    rules       on linear and quadratic energies, the exact laws (`exact.law`) of `ula` and
                `leimkuhler_matthews`, and of kernels that are given, with the step and the
                temperature read in several ways. The readings that no law rejects are the
                convention; if it reads the temperature as anything but T, that is a fault
    invariance  from exact starts the law must stay the target's: a Gaussian, and a mixture of two,
                mapped to a normal by its own distribution function
    symmetry    detailed balance makes (x_0, x_1) exchangeable, so that f(x_0, x_1) - f(x_1, x_0)
                is above zero as often as below; and (E, T) must be equivalent to a problem at
                temperature 1: x = √T y turns it into E(√T ·)/T at the same step, whatever the
                convention, unless the step multiplies the score: then it is E/T at the same step.
                E(x/c) at the step c²η, or ch where h is a time, must be the same chain too
    streams     chains that begin at one point must be independent of each other, and of those of
                another key; the same key must give the same draws, and few chains the law of many.
                Draws have values in common only if they lie on a grid, or at a bound
    energy      that of the user, if it is given: `energies.check` compares its gradient with
                differences of its values

Each test takes its share of `false_alarm`, so that a correct sampler fails with a probability of
at most that. Sign tests, Fisher's, and the one of few chains against many are exact; the test of
two samples is the bound of Wei and Dudley (2012), which holds from 458 draws on; for the laws see
`verify.compare`.
"""

from jlangevin.verify.audit.battery import audit
from jlangevin.verify.audit.report import AuditReport, Finding
from jlangevin.verify.audit.sampler import Draw, Rule, drawer

__all__ = ["AuditReport", "Draw", "Finding", "Rule", "audit", "drawer"]
