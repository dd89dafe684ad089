"""Clients for one API each, built on the recommended stack.

Read `base` first: `BaseAPIClient` is public. `base_url` and `requests` build its requests,
`defaults` reads its settings, `session` sends and `failures` explains how a call failed.
"""
