"""What the library stands on and does not show.

trees            frozen dataclasses as pytrees; traced and static leaves told apart
checks           arguments that are refused, and the words for it
user_code        functions that users wrote
compiling        compiled programs, kept as long as what they are compiled for
contents         what an object is and holds, in words
xla              the options that programs are compiled with
arithmetic       products, roots and roundings
autocorrelation  the integrated time of a series
warn             warnings at the line of the caller
deprecation      how a public name is retired
"""

__all__ = ()
