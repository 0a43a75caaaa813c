"""Watching: facts as events, and who listens to them."""
