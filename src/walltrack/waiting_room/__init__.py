"""Let callers that meet an open circuit wait for its next probe, instead of rejecting them.

`patience` tells how long a call can wait, `room` decides which waiter goes when, and `reporting`
makes events and errors; `transport` waits and sends.
"""
