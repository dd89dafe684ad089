"""Let callers that meet an open circuit wait for its next probe, instead of rejecting them.

`room` decides which waiter goes when; `transport` waits and sends.
"""
