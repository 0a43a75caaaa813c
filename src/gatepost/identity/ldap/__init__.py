"""A client of directories (LDAP, RFC 4511): binds, searches, StartTLS; nothing else, and nothing that blocks."""
