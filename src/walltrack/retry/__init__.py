"""Retry failed requests if this is safe and likely to help.

Read `policy` first: it says whether and when. `outgoing` prepares the request, `call` holds the
state of one call during its attempts; `decisions` asks the policy, the deadline and the budget, and
`reasons` says why there is no retry; `reports` emits the events. `transport` sends, waits and
discards responses. `sole` tells an SDK outside not to retry what was retried here.
"""
