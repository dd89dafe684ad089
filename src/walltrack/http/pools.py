"""Choose the pool of connections for a request, by its family and its proxy.

Awaits: pools are closed here.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any
from weakref import WeakSet

import httpx

from walltrack.core.causes import is_out_of_resources
from walltrack.http.interception import own_transport
from walltrack.http.options import Options, proxy_by
from walltrack.http.pool import Pool
from walltrack.http.proxy_rules import ProxyRules
from walltrack.http.stream import close


class Pools:
    """The pools of one event loop, each opened by the first request that needs it.

    Args:
        options: The options of the pools.
        rules: The proxies of the environment; None if they do not apply.
    """

    def __init__(self, options: Options, rules: ProxyRules | None) -> None:
        self._options = options
        self._rules = rules if rules is not None and rules.proxies else None
        self._open: dict[tuple[ModuleType, str | None], Pool] = {}
        self._replaced: WeakSet[Pool] = WeakSet()  # their calls keep them alive
        self._own: dict[tuple[ModuleType, str | None], httpx.AsyncBaseTransport] = {}
        self.closed: bool = False

    def __iter__(self) -> Iterator[Pool]:
        return iter((*self._open.values(), *self._replaced))

    def pool_for(self, home: Any, request: httpx.Request) -> Pool:  # noqa: ANN401 - either family
        """Return the pool for a request of a family.

        Raises:
            ConnectError: This machine has no file or memory left to load the certificates.
            OSError: The environment names a certificate file that cannot be loaded.
        """
        url = None if self._rules is None else self._rules.proxy_for(request.url)
        pool = self._open.get((home, url))
        if pool is None:
            try:
                pool = Pool(self._options, home, self._proxy(url), self._replace)
            except OSError as error:
                if is_out_of_resources(error):
                    raise home.ConnectError(str(error), request=request) from error
                raise
            self._open[home, url] = pool
        return pool

    def own_transport_for(
        self, home: ModuleType, request: httpx.Request
    ) -> httpx.AsyncBaseTransport:
        """Return the family's own transport, which is used while a method of it is replaced."""
        url = None if self._rules is None else self._rules.proxy_for(request.url)
        transport = self._own.get((home, url))
        if transport is None:
            transport = own_transport(home, self._options, self._proxy(url))
            self._own[home, url] = transport
        return transport

    async def close(self) -> None:
        """Close all pools, and end the calls in flight."""
        self.closed = True
        pools = tuple(self)
        for pool in pools:
            pool.end()
        for pool in pools:
            await pool.close()
        for transport in self._own.values():
            await close(transport)

    def _replace(self, pool: Pool) -> None:
        # New requests get a new pool; this one closes when its last call has ended.
        for key in [key for key, kept in self._open.items() if kept is pool]:
            del self._open[key]
        self._replaced.add(pool)

    def _proxy(self, url: str | None) -> httpx.Proxy | None:
        return self._options.proxy if url is None else proxy_by(url)
