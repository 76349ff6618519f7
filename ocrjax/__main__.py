"""`python -m ocrjax`, the same as `ocrjax`."""

from ocrjax.cli.main import main

if __name__ == "__main__":
    main()
