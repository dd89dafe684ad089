"""Limit the time of a request: in total, until its headers, and between two chunks of its body.

`limits` decides which limit ends first, `deadline` computes the remaining time; `transport` cancels
requests that take longer, and `body` reads a response within its limits. `header` tells the service
how much time is left.
"""
