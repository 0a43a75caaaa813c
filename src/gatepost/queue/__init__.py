"""What is due when: attempts, retries, notifications."""
