"""The way out: which next hop for which recipient, and the talk with it."""
