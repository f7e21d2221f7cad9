"""Views that a generator makes: neighbours in its latent space, and what can be done with its latents."""
