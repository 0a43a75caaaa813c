"""Where credentials lie."""
