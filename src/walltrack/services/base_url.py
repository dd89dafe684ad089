"""The base URL of an API, and how paths are joined to it without leaving it."""

import httpx


class BaseURL:
    """The base URL of one API; only URLs of the same origin can be reached from it.

    Args:
        url: Scheme `http` or `https`, host, and optionally a port, userinfo and a path.

    Raises:
        ValueError: `url` is empty or invalid, has another scheme or no host, or has a query or a
            fragment, to which no path can be joined.
    """

    def __init__(self, url: str | httpx.URL) -> None:
        parsed = _parse("base_url", url)
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValueError(
                "base_url must be an absolute http or https URL, such as 'https://api.example.com'"
            )
        if b"?" in parsed.raw_path or parsed.fragment:
            raise ValueError("base_url must have no query and no fragment; use params= for a query")
        self._url = parsed
        self._directory = (
            parsed.raw_path if parsed.raw_path.endswith(b"/") else parsed.raw_path + b"/"
        )

    @property
    def netloc(self) -> str:
        """`host[:port]`, without userinfo."""
        return self._url.netloc.decode("ascii")

    @property
    def has_path(self) -> bool:
        """Whether this URL has a path, which may contain a secret."""
        return self._directory != b"/"

    def is_home_of(self, url: httpx.URL) -> bool:
        """Return whether `url` has the same origin: scheme, host and port."""
        return _origin(url) == _origin(self._url)

    def join(self, path: str | httpx.URL) -> httpx.URL:
        """Return the URL of `path` below this URL; for an empty path, this URL itself.

        An absolute URL of the same origin, such as the link to a next page, is used as it is.

        Raises:
            ValueError: `path` is invalid, leads out of this URL's path, or is a URL of another
                origin or with its own userinfo.
        """
        parsed = _parse("path", path)
        if parsed.is_absolute_url or parsed.host:
            return self._same_origin(parsed)
        if parsed.scheme:
            raise ValueError(
                "path must not begin with what looks like the scheme of a URL; put a '/' before it"
            )
        if not str(path):
            return self._url
        joined = self._url.copy_with(raw_path=self._directory + parsed.raw_path.lstrip(b"/"))
        if not joined.raw_path.startswith(self._directory) or ".." in joined.path.split("/"):
            raise ValueError("path must not lead out of base_url by '..'")
        return joined

    def shown(self, url: httpx.URL) -> str:
        """Return the path of `url` without this URL's own path, which may contain a secret.

        Of a path that leads elsewhere, each segment is hidden that contains one of this URL's.
        """
        path = url.raw_path.partition(b"?")[0].decode("ascii")
        directory = self._directory.decode("ascii")
        if path.startswith(directory):
            return path[len(directory) - 1 :]
        hidden = [segment for segment in directory.split("/") if segment]
        return "/".join(
            "..." if any(secret in segment for secret in hidden) else segment
            for segment in path.split("/")
        )

    def _same_origin(self, url: httpx.URL) -> httpx.URL:
        if not self.is_home_of(url):
            raise ValueError(f"path must stay at {_shown(self._url)}, got a URL of {_shown(url)}")
        if url.userinfo:
            raise ValueError("path must not carry userinfo")
        return url.copy_with(userinfo=self._url.userinfo)


def _parse(name: str, url: str | httpx.URL) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL:  # its text may contain a part of a password
        raise ValueError(f"{name} is not a valid URL") from None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _shown(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
