"""Repeat requests that failed, where a repetition is safe and likely to help.

Read `policy` first: it decides whether and when. `outgoing` prepares what is sent, `call` holds the
state of one call across its attempts; `transport` sends, waits and discards.
"""
