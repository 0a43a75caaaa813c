"""Who may log in: stores of credentials, and the authority that asks them."""
