"""The configuration file: keys, loading, checking, the sample."""
