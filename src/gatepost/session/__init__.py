"""The talk with a client: SMTP on aiosmtpd (RFC 5321, RFC 6409)."""
