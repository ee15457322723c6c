"""What a user would run instead of Windmill, each in processes of its own; see `bench.rivals`."""
