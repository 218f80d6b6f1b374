"""The HTTP server: OpenAI-compatible endpoints, operator endpoints, and the page."""
