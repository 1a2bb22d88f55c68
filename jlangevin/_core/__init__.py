"""The private foundation of the library.

trees            frozen dataclasses as pytrees; the split into traced and static leaves
each             values that differ from chain to chain
checks           checks of arguments, and their error messages
user_code        calls of functions that users wrote
compiling        compiled programs, kept as long as the objects they are compiled for
contents         descriptions of what an object is and holds
xla              compiler options
arithmetic       products, roots and controlled rounding
vector_loops     what XLA's CPU backend needs to make vector loops of a step
autocorrelation  the integrated autocorrelation time of a series
warn             warnings that point at the caller's line
listing          what a public module shows of itself
deprecation      how a public name is retired
"""

__all__ = ()
