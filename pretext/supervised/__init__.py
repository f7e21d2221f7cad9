"""Lightning modules that measure a trained backbone: frozen under linear probes, fine-tuned, densely."""
