"""Pass events to listeners, log them, and keep secrets out of logs.

`emit` calls listeners and classifiers safely, `log` writes events as log entries, `redaction`
removes secrets from the log lines of httpx, and `state` describes a stack. `observed` introduces
layers to a listener that observes them, such as that of `otel`, which makes metrics
and spans. `attributes` names what they are about, `resends` numbers attempts.
"""
