"""The sorter: mixed waste on a belt, an arm that picks it into bins, and an operator who says what goes where."""
