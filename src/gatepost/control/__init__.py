"""The sockets on which workers take orders: one each, for the command line and the admin process."""
