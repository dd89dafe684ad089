"""Synchronous programs use the asynchronous stack, through an event loop in a thread of its own.

To read in this order:

- `transport`: the transport for `httpx.Client`
- `loop_thread`: the thread, and its event loop from the first call to the closing
- `call`: a task in that loop, and the thread that waits for it
- `exchange`: a request and its response, as such a call
- `upload`, `download`: the bodies
- `network_stream`: a connection that no longer speaks HTTP
"""
