"""Tells: what becomes of the events that `resilience` defines and `transports` raise."""
