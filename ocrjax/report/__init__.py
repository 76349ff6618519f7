"""The HTML report of a run: its content (`data`) and the page that shows it (`page`)."""
