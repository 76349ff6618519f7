"""Readers of data sets: files in, `ocrcore.pages.Page` out."""
