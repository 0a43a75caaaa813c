"""Sockets, TLS and connections, before the first word."""
