"""Retry failed requests if this is safe and likely to help.

Read `policy` first: it decides whether and when. `outgoing` prepares the request, `call` holds the
state of one call during its attempts; `transport` sends, waits and discards responses. `sole` tells
an SDK outside not to retry what was retried here.
"""
