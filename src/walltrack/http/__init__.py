"""HTTP messages and connections: what all layers that handle requests and responses share.

Read `wrapper` (the base class of every layer) first, then `watched_body` (the one owner of a
response body), `body` and `release` (reading one inside the attempt, discarding one), `requests`
(can this request be sent again?), `evidence` (was it sent?), `wait_hints` (what a response asks of
its client; `structured` reads the headers that RFC 9651 defines), `proxy_rules` and
`environment_proxies` (which proxy a request takes).
"""
