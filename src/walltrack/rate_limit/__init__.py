"""Limit how many requests are sent per second, and respect the limits that a server announces.

`token_bucket` decides when a request may be sent, `waiting_line` is the queue of callers;
`transport` waits and sends. With other processes, `shared_line` leases tokens of one rate for all,
and `leased_bucket` keeps them until they are used. `walltrack.http.wait_hints` reads the limits in
response headers.
"""
