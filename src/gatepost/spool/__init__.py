"""What lies on disk: accepted messages, until each recipient is settled."""
