"""crnnjax: the CRNN text recogniser in JAX."""
