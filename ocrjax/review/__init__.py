"""Labels looked at by a person, the most doubtful first, in a page of the browser."""
