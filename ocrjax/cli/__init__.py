"""The `ocrjax` command, one module per subcommand."""
