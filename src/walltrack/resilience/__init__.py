"""Decides: never awaits, never does I/O, never logs. Clock and RNG are injected."""
