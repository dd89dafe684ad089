"""Basics that all layers use and that use no layer: exceptions, shared names, validation."""
