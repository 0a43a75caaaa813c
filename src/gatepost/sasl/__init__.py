"""Authentication mechanisms as conversations without I/O (RFC 4422)."""
