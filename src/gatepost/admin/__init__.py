"""The admin process: what other machines may ask of a server over HTTP, off the way of the mail."""
