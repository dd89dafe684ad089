"""Limit the number of requests in flight (a bulkhead), by a fixed or an adaptive limit.

`adaptive` decides how many requests the server can handle, `turns` which waiter is next;
`transport` waits for a permit and sends.
"""
