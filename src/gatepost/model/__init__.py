"""The words of the field, as values: no I/O, the standard library and idna only."""
