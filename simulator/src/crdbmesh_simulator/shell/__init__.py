"""One shell for hosts and containers: POSIX sh, with the few things of bash that scripts here rely on.

    process.py              a running command, what it reads and writes, the system it runs on
    syntax.py               the syntax tree
    words.py, parser.py     a script's text -> its tree
    expand.py               a word of the tree -> strings
    interpreter.py, builtins.py   the tree -> an exit status

What a host and a container do differently is in the `System` that a process belongs to. What is not understood is
refused aloud: exit status 2 and a record.
"""
