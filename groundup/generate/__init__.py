"""The inference engine: KV cache, continuous batching, prefill, decode and sampling. No HTTP here."""
