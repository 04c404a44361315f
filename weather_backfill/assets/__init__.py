"""Assets: thin functions over the rooms, made per service by one factory."""
