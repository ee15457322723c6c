"""What concerns every job, one file a concern."""
