"""The command line: options, screens and exit codes; decides nothing."""
