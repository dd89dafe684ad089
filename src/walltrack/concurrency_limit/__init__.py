"""Limit the number of requests in flight (a bulkhead), by a fixed or an adaptive number.

`adaptive` decides how many requests the server can handle, `turns` which caller is next;
`transport` waits for the turn and sends.
"""
