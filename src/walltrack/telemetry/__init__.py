"""Pass events to listeners, log them, and keep secrets out of logs.

`emit` calls listeners and classifiers safely, `log` writes events as log entries, and `redaction`
removes secrets from the log lines of httpx.
"""
