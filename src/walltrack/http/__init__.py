"""HTTP messages and connections: what all layers that handle requests and responses share.

Read `wrapper` (the base class of every layer) first, then `watched_body` (the one owner of a
response body), `body` and `release` (reading one inside the attempt, discarding one), `requests`
(can this request be sent again?), `evidence` (was it sent?), `wait_hints` (what a response asks of
its client; `structured` reads the headers that RFC 9651 defines).

`transport` sends over the network. It takes its connections from `pools` (which pool a request
takes) and `pool` (one of httpcore2's, and what is in flight on it), whose sockets are those of
`network`; `core_body` and `core_errors` are what comes of it. `options` and `tls` are what it is
made with, `proxy_rules` and `environment_proxies` say which proxy a request takes, `interception`
lets mocks see requests, and `sending` makes it where no transport was given.
"""
