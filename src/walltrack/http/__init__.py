"""HTTP messages and connections: what all layers that handle requests and responses share.

Read `wrapper` (the base class of every layer) first. Then, for messages: `watched_body` (the only
reader of a response body), `body` and `release` (read a body within the attempt, discard one),
`requests` (whether a request can be sent again), `evidence` (whether it was sent), `wait_hints`
(what response headers ask for; `structured` parses those that RFC 9651 defines), `classify`,
`waits` and `cancellation`.

For connections: `transport` sends requests. `pools` chooses the pool for a request, `pool` wraps
one pool of httpcore2, `network` and `stream` hold its sockets, and `core_body` and `core_errors`
convert its responses and exceptions. `options` and `tls` hold its configuration, `proxy_rules` and
`environment_proxies` choose the proxy, `interception` lets mocks see requests, and `sending`
creates a transport if none was given.
"""
