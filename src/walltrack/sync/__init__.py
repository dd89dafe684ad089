"""Synchronous programs use the asynchronous stack, through an event loop that all threads share.

To read in this order:

- `transport`: the transport for `httpx.Client`
- `loop_thread`: the thread of the event loop, from the first call to the closing
- `asyncio_loop`: the event loop, which that thread and lone callers run in turn; `turn`: whose turn
  it is; `lending`: which callers may run it; `interrupts`: what signals do meanwhile; `task_scope`:
  what cancels a task
- `trio_loop`: an event loop of trio, which stays in its thread
- `call`: a task in that loop, and the thread that waits for it
- `exchange`: a request and its response, as such a call
- `upload`, `download`: the bodies
- `network_stream`: a connection that no longer speaks HTTP
"""
