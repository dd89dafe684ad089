"""Limit the time that a request may take: in all, to its headers, between two chunks.

`limits` decides which limit strikes first, `deadline` computes what is left of one; `transport`
cancels what takes longer, and `body` reads a response within its limits.
"""
