"""The world: a sorting line of belt, items, arm, bins and camera, simulated; pictures of it train the brain that works in it."""
