"""Reject requests to a service that keeps failing, until a probe shows that it has recovered.

Read `state` (the three states), then `circuit` (the state machine) and `breaker` (its public API).
`windows` decides when failures are too frequent, `cooldown` how long a circuit stays open,
`probation` whether the probes succeeded, `permit` and `ticket` what one call carries. `breakers`
and `ledger` keep one breaker per key in bounded memory, `standing` decides when one is clean.
`transport` applies all of it to requests, `settling` admits and settles them, `reports` emits
events, and `described` shows settings and states. `outcomes` settles what came of a request.

With other processes: `following` lets a circuit be as that of the fleet, `member` decides what a
process reports and how it follows, `fleet` asks the store.
"""
