"""`ocrjax fit`: train a reader on labeled photos, in stages that resume.

The package is not called `fit`: `ocrjax.fit` is the function, and importing a module of that name
would replace it.
"""
