"""Results: what a step comes to on machines, as objects and as tables; they know nothing of how it was simulated.

`operation` holds what one operation takes, with an `estimate` where passes were sampled; `totals` adds operations up;
`step` is a whole step on one machine, `comparison` on several, and `table` makes rows of them.
"""
