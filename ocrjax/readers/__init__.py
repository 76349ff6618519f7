"""Readers of data sets: files in, `ocrjax.pages.Page` out."""
