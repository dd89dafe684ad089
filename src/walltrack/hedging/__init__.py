"""Send a second attempt when the first one is slow, and use the first good response.

`latency` decides what is slow, `pair` tracks the two attempts and decides which one wins;
`transport` runs them.
"""
