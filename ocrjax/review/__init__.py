"""Review of labels by a person in the browser, the most doubtful first."""
