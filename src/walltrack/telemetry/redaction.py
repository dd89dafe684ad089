"""Keep secrets out of the log lines of httpx."""

import logging

from walltrack.core import family


def redact_httpx_logs() -> None:
    """Remove userinfo and query string from the URLs in the log lines of httpx and httpx2.

    httpx logs every request at level INFO with its whole URL. Call this once, where the
    application sets up its logging; a second call has no effect. The log lines of httpcore at level
    DEBUG show response headers: keep the loggers "httpcore" and "httpcore2" above that level.
    """
    for name in family.LOGGERS:
        logging.getLogger(name).addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_without_secrets, record.args))
    return True


def _without_secrets(argument: object) -> object:
    if isinstance(argument, family.URLS):
        return argument.copy_with(userinfo=b"", query=None, fragment=None)
    return argument
