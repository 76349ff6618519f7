"""The HTML report of a run: what it holds (`data`), and the page that shows it (`page`)."""
