"""The HTTP server: OpenAI-compatible endpoints, operation, and the page."""
