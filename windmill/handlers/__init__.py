"""One handler for each kind of work: what is to be written and what follows, never the writing."""
