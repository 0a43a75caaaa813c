"""The message itself: find, check, mend and write its header, and compose notifications; no I/O."""
