"""Clients for services, built on the transports."""
