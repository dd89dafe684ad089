"""Keep secrets out of log lines that are not ours."""

import logging

from walltrack.core import family


def redact_httpx_logs() -> None:
    """Have httpx's own log lines, and httpx2's, show URLs without userinfo and query.

    httpx logs every request at level INFO with its whole URL. Call this once, where the
    application sets up its logging; calling it again changes nothing. What httpcore logs at level
    DEBUG shows response headers: leave the loggers "httpcore" and "httpcore2" above that.
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
