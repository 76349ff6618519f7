"""The top of the house: the `ocrjax` command and what needs detector and recognizer together."""
