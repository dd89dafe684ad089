"""Limit how many requests are sent per second, and honour the limits that a server announces.

`token_bucket` decides when a request may go, `waiting_line` keeps the callers in order; `transport`
waits and sends. What a response asks for is read by `walltrack.http.wait_hints`.
"""
