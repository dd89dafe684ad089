"""Basics that all layers use: exceptions, events, the outcome table. Nothing here uses a layer.

- What an outcome means: `outcome` (the table), `classification` (how to override it), `delivery`,
  `statuses`, `methods`, `causes`.
- What callers see: `exceptions` (with `base_errors` and `rejections`), `events`, `extensions`.
- What layers share: `backoff`, `budget`, `keyed`, `loops`, `moments`, `waiting`.
- Both families of httpx: `family`, `mismatch`.
- Arguments and names: `validation`, `named`, `naming`, `version`.
"""
