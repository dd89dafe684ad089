"""What every layer may use and what uses no layer: exceptions, shared names, checks of input."""
