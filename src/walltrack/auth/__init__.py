"""Authenticate each attempt on its own.

`credentials` decides what counts as credentials, and to which origin they may go; `transport` runs
the flow.
"""
