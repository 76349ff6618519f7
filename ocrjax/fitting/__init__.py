"""`ocrjax fit`: labeled photos in, a reader out, in stages that resume.

The package is not called `fit`: `ocrjax.fit` is the function, and a module of that name would take
its place as soon as it is imported.
"""
