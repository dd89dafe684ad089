"""Clients for one API each, built on the recommended stack.

Read `base` first: `BaseAPIClient` is public. `base_url` and `requests` build its requests,
`defaults` makes its layers by the settings, `client_options` opens the httpx client, `session`
sends, and `failures` explains how a call failed.
"""
