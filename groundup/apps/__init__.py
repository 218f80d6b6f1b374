"""Applications: programs that use a model through the same API as users, and machines through the `Robot` interface."""
