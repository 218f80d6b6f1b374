"""HTTP: the endpoints that OpenAI's clients speak to, and the page."""
