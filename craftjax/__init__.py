"""craftjax: the CRAFT text detector in JAX."""
