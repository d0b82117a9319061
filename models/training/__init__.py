"""Training of the miniature VLM: world dumps in, a Hugging Face checkpoint out (see models/README.md)."""
