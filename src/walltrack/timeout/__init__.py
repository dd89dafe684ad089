"""Limit the total time that a request may take, on the wall clock.

`deadline` computes the remaining time; `transport` cancels what takes longer.
"""
