"""Keep secrets out of the log lines of httpx."""

import logging

from walltrack.core import family, validation


def redact_httpx_logs(*, paths: bool = True) -> None:
    """Remove userinfo and query string from the URLs in the log lines of httpx and httpx2.

    httpx logs every request at level INFO with its whole URL. Call this once, where the
    application sets up its logging; the same call again has no effect. The log lines of httpcore at
    level DEBUG show response headers: keep the loggers "httpcore" and "httpcore2" above that level.

    Args:
        paths: Whether paths stay in the lines. False replaces each by "/...", for an API whose
            paths contain secrets.

    Raises:
        TypeError: `paths` is not a bool.
    """
    validation.instance("paths", paths, bool)
    for name in family.LOGGERS:
        logging.getLogger(name).addFilter(_redact if paths else _redact_paths)


def _redact(record: logging.LogRecord) -> bool:
    return _changed(record, userinfo=b"", query=None, fragment=None)


def _redact_paths(record: logging.LogRecord) -> bool:
    return _changed(record, userinfo=b"", raw_path=b"/...", fragment=None)


def _changed(record: logging.LogRecord, **parts: bytes | None) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.copy_with(**parts) if isinstance(argument, family.URLS) else argument
            for argument in record.args
        )
    return True
